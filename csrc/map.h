#pragma once

#include <c10/macros/Macros.h>

#include <cstdint>
#include <type_traits>

namespace posecore {

// The distance between two channels in memory, where it is 1 (channels_last). As a type, so that the compiler
// can use vectors there; elsewhere the distance is an int64_t.
using One = std::integral_constant<int64_t, 1>;

// Where a map lies in memory: the first channel of its cell (0, 0), and the distances from there.
template <typename scalar_t, typename Step>
struct Map {
  scalar_t* data;
  int64_t row, column;
  Step channel;

  // The first channel of a corner, which has to be inside.
  template <typename Cell>
  C10_HOST_DEVICE scalar_t* at(const Cell& cell, int corner) const {
    return data + cell.row(corner) * row + cell.column(corner) * column;
  }
};

} // namespace posecore
