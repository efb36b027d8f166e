#pragma once

#include <cstdint>

namespace posecore {

// Sets to[j * to_step + i] = from[i * from_step + j] for i < rows and j < columns.
//
// It works tile by tile: the memory of a tile stays in the nearest cache, and as its sides are constants, the
// compiler can use vectors.
template <typename from_t, typename to_t>
void transpose(
    const from_t* __restrict__ from,
    int64_t from_step,
    int64_t rows,
    int64_t columns,
    to_t* __restrict__ to,
    int64_t to_step) {
  constexpr int64_t tile = 8;
  for (int64_t column = 0; column < columns; column += tile) {
    for (int64_t row = 0; row < rows; row += tile) {
      const from_t* __restrict__ in = from + row * from_step + column;
      to_t* __restrict__ out = to + column * to_step + row;
      if (row + tile <= rows && column + tile <= columns) {
        for (int64_t j = 0; j < tile; ++j) {
          for (int64_t i = 0; i < tile; ++i) {
            out[j * to_step + i] = static_cast<to_t>(in[i * from_step + j]);
          }
        }
        continue;
      }
      for (int64_t j = 0; j < tile && column + j < columns; ++j) {
        for (int64_t i = 0; i < tile && row + i < rows; ++i) {
          out[j * to_step + i] = static_cast<to_t>(in[i * from_step + j]);
        }
      }
    }
  }
}

} // namespace posecore
