// The checks of the arguments of keypoint_sample and a view of maps in memory, for the CPU and the CUDA
// kernels.
//
// Letters: N images, C channels, H x W cells, Q rows of G points. The channels are split into G groups of C /
// G. Row q samples the channels of group g at its point g, on image images[q].

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/macros/Macros.h>

#include <cstdint>

#include "map.h"

namespace posecore {

// Raises an error that names the argument that does not fit.
inline void check_keypoint_sample(
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  TORCH_CHECK(value.dim() == 4, "keypoint_sample: value must be (N, C, H, W), got ", value.sizes());
  TORCH_CHECK(
      points.dim() == 3 && points.size(2) == 2,
      "keypoint_sample: points must be (Q, G, 2), got ",
      points.sizes());
  TORCH_CHECK(
      images.dim() == 1 && images.size(0) == points.size(0),
      "keypoint_sample: images must be (Q,) with Q = ",
      points.size(0),
      " as in points, got ",
      images.sizes());
  TORCH_CHECK(
      points.size(1) > 0 && value.size(1) % points.size(1) == 0,
      "keypoint_sample: the ",
      value.size(1),
      " channels of value do not split into the ",
      points.size(1),
      " groups of points");
  const at::ScalarType precise = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(
      points.scalar_type() == precise,
      "keypoint_sample: points must be ",
      precise,
      " where value is ",
      value.scalar_type(),
      ", got ",
      points.scalar_type());
  TORCH_CHECK(
      images.scalar_type() == at::kLong,
      "keypoint_sample: images must be ",
      at::kLong,
      ", got ",
      images.scalar_type());
  TORCH_CHECK(
      points.device() == value.device() && images.device() == value.device(),
      "keypoint_sample: value, points and images must be on one device, got ",
      value.device(),
      ", ",
      points.device(),
      " and ",
      images.device());
}

// Raises an error if grad does not have the shape, type and device of the result.
inline void check_keypoint_sample_grad(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points) {
  TORCH_CHECK(
      grad.dim() == 2 && grad.size(0) == points.size(0) && grad.size(1) == value.size(1),
      "keypoint_sample: grad must be (Q, C) = (",
      points.size(0),
      ", ",
      value.size(1),
      "), got ",
      grad.sizes());
  TORCH_CHECK(
      grad.scalar_type() == value.scalar_type() && grad.device() == value.device(),
      "keypoint_sample: grad must have the type and the device of value, got ",
      grad.scalar_type(),
      " on ",
      grad.device());
}

inline bool channels_are_neighbors(const at::Tensor& maps) {
  return maps.stride(1) == 1 || maps.size(1) == 1;
}

// Calls body(step) with the distance between channels: One() if they are neighbors, else an int64_t.
template <typename Body>
void with_channel_step(const at::Tensor& maps, const Body& body) {
  if (channels_are_neighbors(maps)) {
    body(One());
  } else {
    body(maps.stride(1));
  }
}

// A view of maps (N, C, H, W) with any strides.
template <typename scalar_t, typename Step>
struct Maps {
  scalar_t* data;
  int64_t image, row, column;
  Step channel;

  Maps(scalar_t* data, const at::Tensor& maps, Step step)
      : data(data), image(maps.stride(0)), row(maps.stride(2)), column(maps.stride(3)), channel(step) {}

  C10_HOST_DEVICE scalar_t* at(int64_t n, int64_t c, int64_t y, int64_t x) const {
    return data + n * image + c * channel + y * row + x * column;
  }
};

} // namespace posecore
