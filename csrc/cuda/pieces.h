// Channels are read and written in pieces: as many as 16 bytes hold where the memory allows it, else single
// ones.

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

// Whether pieces of 16 bytes lie at multiples of 16 bytes, given the distances that lead to them.
inline bool holds_wide_pieces(const at::Tensor& numbers, at::IntArrayRef distances) {
  const int64_t size = 16 / numbers.element_size();
  for (const int64_t distance : distances) {
    if (distance % size != 0) {
      return false;
    }
  }
  return reinterpret_cast<uintptr_t>(numbers.const_data_ptr()) % 16 == 0;
}

// Calls body(size) with the channels per piece, as a type.
template <typename scalar_t, typename Body>
void with_piece(bool wide, const Body& body) {
  if (wide) {
    body(std::integral_constant<int, channels_per_piece<scalar_t>>());
  } else {
    body(std::integral_constant<int, 1>());
  }
}

// The least power of two that is not below number, but at most limit.
inline int power_of_two(int64_t number, int limit) {
  int power = 1;
  while (power < number && power < limit) {
    power *= 2;
  }
  return power;
}

inline int64_t divide_up(int64_t number, int64_t normalizer) {
  return (number + normalizer - 1) / normalizer;
}

struct Launch {
  dim3 grid, block;
};

} // namespace posecore
