#pragma once

#include <c10/macros/Macros.h>

#include <cstdint>
#include <type_traits>

namespace posecore {

// The distance between two channels in memory if it is 1 (channels_last). It is a type, so that the compiler
// can use vectors; other distances are an int64_t.
using One = std::integral_constant<int64_t, 1>;

// A view of a map in memory: the first channel of cell (0, 0), and the distances between rows, columns and
// channels.
template <typename scalar_t, typename Step>
struct Map {
  scalar_t* data;
  int64_t row, column;
  Step channel;

  // The first channel of a corner, which must be inside the map.
  template <typename Cell>
  C10_HOST_DEVICE scalar_t* at(const Cell& cell, int corner) const {
    return data + cell.row(corner) * row + cell.column(corner) * column;
  }
};

} // namespace posecore
