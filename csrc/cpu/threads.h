#pragma once

#include <algorithm>
#include <cstdint>

namespace posecore {

// The least number of pieces of work for which a thread is worth starting, where a piece samples that many
// numbers.
inline int64_t least_pieces(int64_t numbers) {
  constexpr int64_t numbers_per_thread = 1 << 17;
  return numbers_per_thread / std::max<int64_t>(numbers, 1) + 1;
}

} // namespace posecore
