#include "../keypoint_sample.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "../bilinear.h"
#include "huge_pages.h"

namespace posecore {
namespace {

// In all kernels: N pictures, C channels, H x W cells, Q rows of G points. value (N, C, H, W) has any
// strides; points (Q, G, 2), images (Q,) and grad (Q, C) are contiguous, and so are results of these shapes.

// With fewer numbers of the result or of its gradient than this a thread is not worth waiting for.
constexpr int64_t numbers_per_thread = 1 << 17;

// Calls body(q, g, cell) for the point of every row q and group g; rows are shared out among the threads.
template <typename point_t, typename Body>
void for_each_point(const at::Tensor& value, const at::Tensor& points, const Body& body) {
  const int64_t height = value.size(2), width = value.size(3), groups = points.size(1);
  const point_t* data = points.const_data_ptr<point_t>();
  const int64_t grain = numbers_per_thread / std::max<int64_t>(value.size(1), 1) + 1;
  at::parallel_for(0, points.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      for (int64_t g = 0; g < groups; ++g) {
        const point_t* point = data + (q * groups + g) * 2;
        body(q, g, Bilinear<point_t>(point[0], point[1], height, width));
      }
    }
  });
}

// result (Q, C).
template <typename scalar_t, typename Step>
void sample(
    const at::Tensor& value,
    Step step,
    const at::Tensor& points,
    const at::Tensor& images,
    const at::Tensor& result) {
  using acc_t = at::opmath_type<scalar_t>;
  const Maps<const scalar_t, Step> maps(value.const_data_ptr<scalar_t>(), value, step);
  const int64_t* pictures = images.const_data_ptr<int64_t>();
  scalar_t* results = result.mutable_data_ptr<scalar_t>();
  const int64_t groups = points.size(1), channels = value.size(1) / groups;

  for_each_point<acc_t>(value, points, [&](int64_t q, int64_t g, const Bilinear<acc_t>& cell) {
    const auto corner = [&](int k) {
      return maps.at(pictures[q], g * channels, cell.row(k), cell.column(k));
    };
    scalar_t* __restrict__ out = results + (q * groups + g) * channels;
    if (cell.inside()) {
      const scalar_t *in0 = corner(0), *in1 = corner(1), *in2 = corner(2), *in3 = corner(3);
      const acc_t weights[] = {cell.weight(0), cell.weight(1), cell.weight(2), cell.weight(3)};
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t i = c * maps.channel;
        out[c] = static_cast<scalar_t>(
            weights[0] * static_cast<acc_t>(in0[i]) + weights[1] * static_cast<acc_t>(in1[i]) +
            weights[2] * static_cast<acc_t>(in2[i]) + weights[3] * static_cast<acc_t>(in3[i]));
      }
      return;
    }
    for (int64_t c = 0; c < channels; ++c) {
      acc_t sum = 0;
      for (int k = 0; k < 4; ++k) {
        if (cell.inside(k)) {
          sum += cell.weight(k) * static_cast<acc_t>(corner(k)[c * maps.channel]);
        }
      }
      out[c] = static_cast<scalar_t>(sum);
    }
  });
}

// Adds to result (N, C, H, W) of any strides, in the type that sums are in.
template <typename scalar_t, typename Step>
void add_grad_value(
    const at::Tensor& grad,
    const at::Tensor& points,
    const at::Tensor& images,
    const at::Tensor& result,
    Step step) {
  using acc_t = at::opmath_type<scalar_t>;
  const Maps<acc_t, Step> maps(result.mutable_data_ptr<acc_t>(), result, step);
  const int64_t* pictures = images.const_data_ptr<int64_t>();
  const acc_t* point_data = points.const_data_ptr<acc_t>();
  const scalar_t* grads = grad.const_data_ptr<scalar_t>();
  const int64_t all_channels = result.size(1), height = result.size(2), width = result.size(3);
  const int64_t groups = points.size(1), channels = all_channels / groups;

  std::vector<std::vector<int64_t>> rows(result.size(0));
  for (int64_t q = 0; q < points.size(0); ++q) {
    rows[pictures[q]].push_back(q);
  }
  // Threads share out blocks of channels of a picture, not rows: none then writes where another does, and
  // a cell sums its rows in the same order whatever the number of threads.
  const int64_t block = 16;
  const int64_t blocks = (all_channels + block - 1) / block;
  const int64_t rows_per_picture = points.size(0) / std::max<int64_t>(result.size(0), 1) + 1;
  const int64_t grain = numbers_per_thread / (rows_per_picture * block) + 1;
  at::parallel_for(0, result.size(0) * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin / blocks; n * blocks < end; ++n) {
      const int64_t first = std::max<int64_t>(begin - n * blocks, 0) * block;
      const int64_t last = std::min((end - n * blocks) * block, all_channels);
      for (const int64_t q : rows[n]) {
        for (int64_t g = first / channels; g * channels < last; ++g) {
          const acc_t* point = point_data + (q * groups + g) * 2;
          const Bilinear<acc_t> cell(point[0], point[1], height, width);
          const int64_t from = std::max(first, g * channels), to = std::min(last, (g + 1) * channels);
          const scalar_t* __restrict__ in = grads + q * all_channels + from;
          for (int k = 0; k < 4; ++k) {
            if (!cell.inside(k)) {
              continue;
            }
            const acc_t weight = cell.weight(k);
            acc_t* __restrict__ out = maps.at(n, from, cell.row(k), cell.column(k));
            for (int64_t c = 0; c < to - from; ++c) {
              out[c * maps.channel] += weight * static_cast<acc_t>(in[c]);
            }
          }
        }
      }
    }
  });
}

// result (Q, G, 2).
template <typename scalar_t, typename Step>
void grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    Step step,
    const at::Tensor& points,
    const at::Tensor& images,
    const at::Tensor& result) {
  using acc_t = at::opmath_type<scalar_t>;
  const Maps<const scalar_t, Step> maps(value.const_data_ptr<scalar_t>(), value, step);
  const int64_t* pictures = images.const_data_ptr<int64_t>();
  const scalar_t* grads = grad.const_data_ptr<scalar_t>();
  acc_t* results = result.mutable_data_ptr<acc_t>();
  const int64_t groups = points.size(1), channels = value.size(1) / groups;

  for_each_point<acc_t>(value, points, [&](int64_t q, int64_t g, const Bilinear<acc_t>& cell) {
    const scalar_t* __restrict__ in = grads + (q * groups + g) * channels;
    acc_t sums[4] = {0, 0, 0, 0};
    for (int k = 0; k < 4; ++k) {
      if (!cell.inside(k)) {
        continue;
      }
      const scalar_t* __restrict__ corner = maps.at(pictures[q], g * channels, cell.row(k), cell.column(k));
      acc_t sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < channels; ++c) {
        sum += static_cast<acc_t>(corner[c * maps.channel]) * static_cast<acc_t>(in[c]);
      }
      sums[k] = sum;
    }
    acc_t* out = results + (q * groups + g) * 2;
    out[0] = cell.gradient_x(sums);
    out[1] = cell.gradient_y(sums);
  });
}

void check_images(const at::Tensor& images, int64_t pictures) {
  const at::Tensor contiguous = images.contiguous();
  const int64_t* data = contiguous.const_data_ptr<int64_t>();
  for (int64_t q = 0; q < contiguous.size(0); ++q) {
    TORCH_CHECK_INDEX(
        data[q] >= 0 && data[q] < pictures,
        "keypoint_sample: images[",
        q,
        "] is ",
        data[q],
        ", but value has ",
        pictures,
        " pictures");
  }
}

// Contiguous maps scatter the channels of a cell over memory. Where most cells are read, copying them to
// channels_last first is faster.
bool worth_copying(const at::Tensor& value, const at::Tensor& points) {
  const int64_t cells = value.size(0) * value.size(2) * value.size(3);
  const int64_t group_channels = value.size(1) / points.size(1);
  return value.is_contiguous() && !channels_are_neighbours(value) && group_channels >= 8 &&
      2 * points.size(0) >= cells;
}

at::Tensor to_channels_last(const at::Tensor& value) {
  const at::TensorOptions options = value.options().memory_format(at::MemoryFormat::ChannelsLast);
  return with_huge_pages(at::empty_like(value, options)).copy_(value);
}

// The maps, channels_last, in the layout and the type of the contiguous value. Picture by picture, because a
// copy of two dimensions is much faster than the same copy of four.
at::Tensor back_to_contiguous(const at::Tensor& maps, const at::Tensor& value) {
  const at::Tensor result = with_huge_pages(at::empty_like(value));
  for (int64_t n = 0; n < maps.size(0); ++n) {
    result.select(0, n).flatten(1).copy_(maps.select(0, n).flatten(1));
  }
  return result;
}

at::Tensor keypoint_sample(const at::Tensor& value, const at::Tensor& points, const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  check_images(images, value.size(0));

  const at::Tensor maps = worth_copying(value, points) ? to_channels_last(value) : value;
  const at::Tensor result = with_huge_pages(at::empty({points.size(0), value.size(1)}, value.options()));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    with_channel_step(maps, [&](auto step) {
      sample<scalar_t>(maps, step, points.contiguous(), images.contiguous(), result);
    });
  });
  return result;
}

at::Tensor keypoint_sample_grad_value(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  check_keypoint_sample_grad(grad, value, points);
  check_images(images, value.size(0));

  const bool copied = worth_copying(value, points);
  const at::MemoryFormat format = copied ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Preserve;
  const at::TensorOptions options = value.options().dtype(points.scalar_type()).memory_format(format);
  const at::Tensor result = with_huge_pages(at::empty_like(value, options)).zero_();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    with_channel_step(result, [&](auto step) {
      add_grad_value<scalar_t>(grad.contiguous(), points.contiguous(), images.contiguous(), result, step);
    });
  });
  return copied ? back_to_contiguous(result, value) : result.to(value.scalar_type());
}

at::Tensor keypoint_sample_grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  check_keypoint_sample_grad(grad, value, points);
  check_images(images, value.size(0));

  const at::Tensor maps = worth_copying(value, points) ? to_channels_last(value) : value;
  const at::Tensor result = at::empty(points.sizes(), points.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    with_channel_step(maps, [&](auto step) {
      grad_points<scalar_t>(grad.contiguous(), maps, step, points.contiguous(), images.contiguous(), result);
    });
  });
  return result;
}

} // namespace

TORCH_LIBRARY_IMPL(posecore, CPU, m) {
  m.impl("keypoint_sample", keypoint_sample);
  m.impl("keypoint_sample_grad_value", keypoint_sample_grad_value);
  m.impl("keypoint_sample_grad_points", keypoint_sample_grad_points);
}

} // namespace posecore
