// The checks of the arguments of ms_deform_attn and the loop over points, for the CPU and the CUDA kernels.
//
// Letters: N images, R cells of all L levels together, G groups of C channels, Q queries of H heads, each
// with P points on every level. Head h samples the values of group h / (H / G). With G = H each head has its
// own channels; with G = 1 all heads sample the same channels.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/macros/Macros.h>

#include <cstdint>

#include "bilinear.h"
#include "map.h"

namespace posecore {

// The levels one after another, each row by row. The struct has a fixed size, so that it can be an argument
// of a kernel.
struct Levels {
  static constexpr int most = 16;

  struct Level {
    int height, width;
    int first; // index of its first cell
  };

  int count;
  Level level[most];

  explicit Levels(at::IntArrayRef shapes) : count(static_cast<int>(shapes.size() / 2)) {
    int first = 0;
    for (int l = 0; l < count; ++l) {
      level[l] = {static_cast<int>(shapes[2 * l]), static_cast<int>(shapes[2 * l + 1]), first};
      first += level[l].height * level[l].width;
    }
  }
};

// Raises an error that names the argument that does not fit.
inline void check_ms_deform_attn(
    const at::Tensor& value,
    at::IntArrayRef shapes,
    const at::Tensor& locations,
    const at::Tensor& weights) {
  TORCH_CHECK(value.dim() == 4, "ms_deform_attn: value must be (N, R, G, C), got ", value.sizes());
  TORCH_CHECK(
      locations.dim() == 6 && locations.size(5) == 2 && locations.size(0) == value.size(0),
      "ms_deform_attn: locations must be (N, Q, H, L, P, 2) with N = ",
      value.size(0),
      " as in value, got ",
      locations.sizes());
  TORCH_CHECK(
      weights.sizes() == locations.sizes().slice(0, 5),
      "ms_deform_attn: weights must be (N, Q, H, L, P) = ",
      locations.sizes().slice(0, 5),
      " as in locations, got ",
      weights.sizes());
  TORCH_CHECK(
      value.size(2) > 0 && locations.size(2) % value.size(2) == 0,
      "ms_deform_attn: the ",
      locations.size(2),
      " heads of locations do not split into the ",
      value.size(2),
      " groups of value");
  int64_t cells = 0;
  for (size_t i = 0; i + 1 < shapes.size(); i += 2) {
    TORCH_CHECK(
        shapes[i] >= 0 && shapes[i + 1] >= 0,
        "ms_deform_attn: level ",
        i / 2,
        " of shapes must not be negative, got ",
        shapes.slice(i, 2));
    cells += shapes[i] * shapes[i + 1];
  }
  TORCH_CHECK(
      locations.size(3) <= Levels::most,
      "ms_deform_attn: locations must have at most ",
      Levels::most,
      " levels, got ",
      locations.size(3));
  TORCH_CHECK(
      static_cast<int64_t>(shapes.size()) == 2 * locations.size(3),
      "ms_deform_attn: shapes must be a pair for each of the ",
      locations.size(3),
      " levels of locations, got ",
      shapes);
  TORCH_CHECK(
      cells == value.size(1),
      "ms_deform_attn: the levels of shapes have ",
      cells,
      " cells, but value has ",
      value.size(1));
  const at::ScalarType precise = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  TORCH_CHECK(
      locations.scalar_type() == precise && weights.scalar_type() == precise,
      "ms_deform_attn: locations and weights must be ",
      precise,
      " where value is ",
      value.scalar_type(),
      ", got ",
      locations.scalar_type(),
      " and ",
      weights.scalar_type());
  TORCH_CHECK(
      locations.device() == value.device() && weights.device() == value.device(),
      "ms_deform_attn: value, locations and weights must be on one device, got ",
      value.device(),
      ", ",
      locations.device(),
      " and ",
      weights.device());
}

// Raises an error if grad does not have the shape, type and device of the result.
inline void check_ms_deform_attn_grad(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& locations) {
  TORCH_CHECK(
      grad.dim() == 4 && grad.sizes().slice(0, 3) == locations.sizes().slice(0, 3) &&
          grad.size(3) == value.size(3),
      "ms_deform_attn: grad must be (N, Q, H, C) = ",
      locations.sizes().slice(0, 3),
      " and ",
      value.size(3),
      ", got ",
      grad.sizes());
  TORCH_CHECK(
      grad.scalar_type() == value.scalar_type() && grad.device() == value.device(),
      "ms_deform_attn: grad must have the type and the device of value, got ",
      grad.scalar_type(),
      " on ",
      grad.device());
}

// The same values with channels that are neighbors in memory, as the kernels need; others are copied.
inline at::Tensor with_neighboring_channels(const at::Tensor& value) {
  return value.stride(3) == 1 ? value : value.contiguous();
}

// Values (N, R, G, C), or sums of their gradients, whose channels are neighbors in memory.
template <typename scalar_t>
struct Values {
  scalar_t* data;
  int64_t image, cell, group;

  Values(scalar_t* data, const at::Tensor& values)
      : data(data), image(values.stride(0)), cell(values.stride(1)), group(values.stride(2)) {}
};

// The points of all heads and their weights. A row is one head of one query of one image.
template <typename acc_t>
struct Attention {
  Levels levels;
  int64_t num_images, queries, heads, points, heads_per_group;
  const acc_t* locations;
  const acc_t* weights;

  // locations and weights must be contiguous and outlive this object.
  Attention(
      const at::Tensor& value,
      at::IntArrayRef shapes,
      const at::Tensor& locations,
      const at::Tensor& weights)
      : levels(shapes),
        num_images(locations.size(0)),
        queries(locations.size(1)),
        heads(locations.size(2)),
        points(locations.size(4)),
        heads_per_group(heads / value.size(2)),
        locations(locations.const_data_ptr<acc_t>()),
        weights(weights.const_data_ptr<acc_t>()) {}

  int64_t rows() const {
    return num_images * queries * heads;
  }

  int64_t points_per_row() const {
    return levels.count * points;
  }

  // Calls body(i, level, map, cell) for each point of a row. i is the index of the point among those of all
  // rows, and the map begins at the given channel.
  template <typename scalar_t, typename Body>
  C10_HOST_DEVICE void for_each_point(
      int64_t row,
      const Values<scalar_t>& values,
      int64_t channel,
      const Body& body) const {
    const int64_t image = row / (queries * heads), group = row % heads / heads_per_group;
    scalar_t* data = values.data + image * values.image + group * values.group + channel;
    int64_t i = row * levels.count * points;
    for (int l = 0; l < levels.count; ++l) {
      const Levels::Level level = levels.level[l];
      const Map<scalar_t, One> map{
          data + level.first * values.cell, level.width * values.cell, values.cell, One()};
      for (int64_t end = i + points; i < end; ++i) {
        const acc_t x = locations[2 * i] * level.width, y = locations[2 * i + 1] * level.height;
        body(i, level, map, Bilinear<acc_t>(x, y, level.height, level.width));
      }
    }
  }
};

} // namespace posecore
