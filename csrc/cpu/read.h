// Bilinear samples of all channels of a map at one point, and their gradients, on the CPU.
//
// Most points have all four corners inside the map. A loop over channels then handles all corners together,
// so the result or its gradient is moved through memory once instead of four times.

#pragma once

#include <cstdint>
#include <type_traits>

#include "../bilinear.h"
#include "../map.h"

namespace posecore {

// Calls body(c, number) with the sample of each channel.
template <typename scalar_t, typename Step, typename acc_t, typename Body>
void read(
    const Map<const scalar_t, Step>& map,
    const Bilinear<acc_t>& cell,
    int64_t channels,
    const Body& body) {
  const scalar_t* in[Bilinear<acc_t>::corners] = {};
  acc_t weights[Bilinear<acc_t>::corners] = {};
  int count = 0;
  for (int k = 0; k < cell.corners; ++k) {
    if (cell.inside(k)) {
      in[count] = map.at(cell, k);
      weights[count++] = cell.weight(k);
    }
  }
  // Four, two, one or no corners are inside. As their number is a constant, the compiler can use vectors.
  const auto over_channels = [&](auto size) {
    const scalar_t *in0 = in[0], *in1 = in[1], *in2 = in[2], *in3 = in[3];
    const acc_t w0 = weights[0], w1 = weights[1], w2 = weights[2], w3 = weights[3];
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = c * map.channel;
      acc_t sum = 0;
      if constexpr (size > 0) {
        sum += w0 * static_cast<acc_t>(in0[i]);
      }
      if constexpr (size > 1) {
        sum += w1 * static_cast<acc_t>(in1[i]);
      }
      if constexpr (size > 2) {
        sum += w2 * static_cast<acc_t>(in2[i]) + w3 * static_cast<acc_t>(in3[i]);
      }
      body(c, sum);
    }
  };
  switch (count) {
    case 4:
      return over_channels(std::integral_constant<int, 4>());
    case 2:
      return over_channels(std::integral_constant<int, 2>());
    case 1:
      return over_channels(std::integral_constant<int, 1>());
    default:
      return over_channels(std::integral_constant<int, 0>());
  }
}

// Adds the gradient of the map to it, for the gradient weight * grad[c] of the sample of channel c.
template <typename scalar_t, typename Step, typename acc_t>
void add_grad(
    const Map<acc_t, Step>& map,
    const Bilinear<acc_t>& cell,
    int64_t channels,
    acc_t weight,
    const scalar_t* __restrict__ grad) {
  if (cell.inside()) {
    acc_t *out0 = map.at(cell, 0), *out1 = map.at(cell, 1);
    acc_t *out2 = map.at(cell, 2), *out3 = map.at(cell, 3);
    const acc_t weights[] = {
        weight * cell.weight(0), weight * cell.weight(1), weight * cell.weight(2), weight * cell.weight(3)};
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = c * map.channel;
      const acc_t number = static_cast<acc_t>(grad[c]);
      out0[i] += weights[0] * number;
      out1[i] += weights[1] * number;
      out2[i] += weights[2] * number;
      out3[i] += weights[3] * number;
    }
    return;
  }
  for (int k = 0; k < cell.corners; ++k) {
    if (cell.inside(k)) {
      acc_t* __restrict__ out = map.at(cell, k);
      for (int64_t c = 0; c < channels; ++c) {
        out[c * map.channel] += weight * cell.weight(k) * static_cast<acc_t>(grad[c]);
      }
    }
  }
}

// sums[k] = sum over channels of corner k times grad; 0 for corners outside the map. Bilinear computes the
// gradient of the point from these sums.
template <typename scalar_t, typename Step, typename grad_t, typename acc_t>
void dot_grad(
    const Map<const scalar_t, Step>& map,
    const Bilinear<acc_t>& cell,
    int64_t channels,
    const grad_t* __restrict__ grad,
    acc_t (&sums)[Bilinear<acc_t>::corners]) {
  if (cell.inside()) {
    const scalar_t *in0 = map.at(cell, 0), *in1 = map.at(cell, 1);
    const scalar_t *in2 = map.at(cell, 2), *in3 = map.at(cell, 3);
    acc_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = c * map.channel;
      const acc_t number = static_cast<acc_t>(grad[c]);
      sum0 += static_cast<acc_t>(in0[i]) * number;
      sum1 += static_cast<acc_t>(in1[i]) * number;
      sum2 += static_cast<acc_t>(in2[i]) * number;
      sum3 += static_cast<acc_t>(in3[i]) * number;
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
    return;
  }
  for (int k = 0; k < cell.corners; ++k) {
    acc_t sum = 0;
    if (cell.inside(k)) {
      const scalar_t* __restrict__ in = map.at(cell, k);
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < channels; ++c) {
        sum += static_cast<acc_t>(in[c * map.channel]) * static_cast<acc_t>(grad[c]);
      }
    }
    sums[k] = sum;
  }
}

} // namespace posecore
