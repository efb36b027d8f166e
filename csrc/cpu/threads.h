#pragma once

#include <algorithm>
#include <cstdint>

namespace posecore {

// How many pieces of work a thread has to get to be worth waiting for, given how many numbers a piece reads
// at points.
inline int64_t least_pieces(int64_t numbers) {
  constexpr int64_t numbers_per_thread = 1 << 17;
  return numbers_per_thread / std::max<int64_t>(numbers, 1) + 1;
}

} // namespace posecore
