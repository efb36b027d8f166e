// One bilinear read of a map at a point, and its gradient, for the CPU and for CUDA.
//
// The convention of all operators, stated here and nowhere else: points are (x, y), continuous, in cells of
// the map. The value of the cell in row i and column j belongs to its center, the point (j + 0.5, i + 0.5).
// Cells outside the map count as zero, so a point a whole cell beyond the outermost centers reads zero.
// (grid_sample with align_corners=False and zero padding does the same at grid = 2 * point / size - 1.)

#pragma once

#include <c10/macros/Macros.h>

#include <cmath>
#include <cstdint>

namespace posecore {

// The four cells around a point. They are numbered 0 to 3; bit 0 of the number says right instead of left,
// bit 1 says bottom instead of top. How the map lies in memory is the caller's business, who reads
//
//   sum over the corners k with inside(k) of weight(k) * map[row(k)][column(k)]
//
// and who hands gradients back as weight(k) * gradient to the map and as gradient_x, gradient_y to the point.
// scalar_t is the type to compute in: float, or double for maps of doubles.
template <typename scalar_t>
class Bilinear {
 public:
  static constexpr int corners = 4;

  C10_HOST_DEVICE Bilinear(scalar_t x, scalar_t y, int64_t height, int64_t width) {
    x -= scalar_t(0.5);
    y -= scalar_t(0.5);
    // False for NaN too. Beyond it x and y fit into an int.
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

  // Whether all four corners are inside, which most are.
  C10_HOST_DEVICE bool inside() const {
    return inside(0) && inside(3);
  }

  C10_HOST_DEVICE scalar_t weight(int corner) const {
    return (corner & 1 ? to_right_ : 1 - to_right_) * (corner >> 1 ? to_bottom_ : 1 - to_bottom_);
  }

  // The read value, from the values of the four corners (0 outside).
  C10_HOST_DEVICE scalar_t read(const scalar_t (&values)[corners]) const {
    return (1 - to_bottom_) * ((1 - to_right_) * values[0] + to_right_ * values[1]) +
        to_bottom_ * ((1 - to_right_) * values[2] + to_right_ * values[3]);
  }

  // Derivatives of the read value by the point's x and y, from the values of the four corners (0 outside).
  // With several channels: from the corners' sums over channels of value * gradient.
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
