// Pieces of channels, the units in which the CUDA kernels read and write. A wide piece has 16 bytes; where
// the positions in memory do not allow it, a piece is one channel.

#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <type_traits>

#include "../map.h"

namespace posecore {

constexpr int threads_per_block = 256;

template <typename scalar_t>
constexpr int channels_per_piece = 16 / sizeof(scalar_t);

template <typename scalar_t, int size>
struct alignas(sizeof(scalar_t) * size) Piece {
  scalar_t channels[size];
};

template <int size, typename scalar_t>
__device__ Piece<scalar_t, size> load(const scalar_t* data, One) {
  return *reinterpret_cast<const Piece<scalar_t, size>*>(data);
}

// Whether all wide pieces lie at multiples of 16 bytes, given the distances in memory between them.
inline bool holds_wide_pieces(const at::Tensor& numbers, at::IntArrayRef distances) {
  const int64_t size = 16 / numbers.element_size();
  for (const int64_t distance : distances) {
    if (distance % size != 0) {
      return false;
    }
  }
  return reinterpret_cast<uintptr_t>(numbers.const_data_ptr()) % 16 == 0;
}

// Calls body(size) with the number of channels per piece, as an integral_constant.
template <typename scalar_t, typename Body>
void with_piece(bool wide, const Body& body) {
  if (wide) {
    body(std::integral_constant<int, channels_per_piece<scalar_t>>());
  } else {
    body(std::integral_constant<int, 1>());
  }
}

// The smallest power of two that is at least number, but at most limit.
inline int power_of_two(int64_t number, int limit) {
  int power = 1;
  while (power < number && power < limit) {
    power *= 2;
  }
  return power;
}

inline int64_t divide_up(int64_t number, int64_t size) {
  return (number + size - 1) / size;
}

struct Launch {
  dim3 grid, block;
};

} // namespace posecore
