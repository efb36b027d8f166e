// Bilinear, one bilinear sample of a map at a point, and its gradient, for the CPU and for CUDA.
//
// All operators follow this convention: points are (x, y), continuous, in cells of the map. The value of the
// cell in row i and column j belongs to its center, the point (j + 0.5, i + 0.5). Cells outside the map count
// as zero, so a sample is zero from one cell beyond the outermost centers on. (grid_sample with
// align_corners=False and zero padding does the same at grid = 2 * point / size - 1.)

#pragma once

#include <c10/macros/Macros.h>

#include <cmath>
#include <cstdint>

namespace posecore {

// The four cells around a point, called corners. They are numbered 0 to 3: bit 0 of the number is set for the
// right cells, bit 1 for the bottom cells. This class does not know the layout of the map in memory. The
// caller computes the sample as
//
//   sum over the corners k with inside(k) of weight(k) * map[row(k)][column(k)]
//
// and the gradients as weight(k) * gradient for the map, and by gradient_x and gradient_y for the point.
// scalar_t is the type of the computation: float, or double for float64 maps.
template <typename scalar_t>
class Bilinear {
 public:
  static constexpr int corners = 4;

  C10_HOST_DEVICE Bilinear(scalar_t x, scalar_t y, int64_t height, int64_t width) {
    x -= scalar_t(0.5);
    y -= scalar_t(0.5);
    // The condition is false for NaN too. Below this line x and y fit into an int.
    if (!(x > -1 && x < static_cast<scalar_t>(width) && y > -1 && y < static_cast<scalar_t>(height))) {
      return;
    }
    const scalar_t left = std::floor(x);
    const scalar_t top = std::floor(y);
    left_ = static_cast<int>(left);
    top_ = static_cast<int>(top);
    to_right_ = x - left;
    to_bottom_ = y - top;
    column_inside_[0] = left_ >= 0;
    column_inside_[1] = left_ + 1 < width;
    row_inside_[0] = top_ >= 0;
    row_inside_[1] = top_ + 1 < height;
  }

  C10_HOST_DEVICE int row(int corner) const {
    return top_ + (corner >> 1);
  }

  C10_HOST_DEVICE int column(int corner) const {
    return left_ + (corner & 1);
  }

  C10_HOST_DEVICE bool inside(int corner) const {
    return row_inside_[corner >> 1] && column_inside_[corner & 1];
  }

  // Whether all four corners are inside the map, as for most points.
  C10_HOST_DEVICE bool inside() const {
    return inside(0) && inside(3);
  }

  C10_HOST_DEVICE scalar_t weight(int corner) const {
    return (corner & 1 ? to_right_ : 1 - to_right_) * (corner >> 1 ? to_bottom_ : 1 - to_bottom_);
  }

  // The sample, from the values of the four corners (0 outside the map).
  C10_HOST_DEVICE scalar_t read(const scalar_t (&values)[corners]) const {
    return (1 - to_bottom_) * ((1 - to_right_) * values[0] + to_right_ * values[1]) +
        to_bottom_ * ((1 - to_right_) * values[2] + to_right_ * values[3]);
  }

  // Derivatives of the sample by x and y of the point, from the values of the four corners (0 outside the
  // map). For several channels, pass the sum over channels of value * gradient of each corner.
  C10_HOST_DEVICE scalar_t gradient_x(const scalar_t (&values)[corners]) const {
    return (1 - to_bottom_) * (values[1] - values[0]) + to_bottom_ * (values[3] - values[2]);
  }

  C10_HOST_DEVICE scalar_t gradient_y(const scalar_t (&values)[corners]) const {
    return (1 - to_right_) * (values[2] - values[0]) + to_right_ * (values[3] - values[1]);
  }

 private:
  int left_ = 0;
  int top_ = 0;
  scalar_t to_right_ = 0;
  scalar_t to_bottom_ = 0;
  bool column_inside_[2] = {false, false};
  bool row_inside_[2] = {false, false};
};

} // namespace posecore
