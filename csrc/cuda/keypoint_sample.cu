#include "../keypoint_sample.h"

#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>

#include "../bilinear.h"
#include "pieces.h"

// If channels are neighbors in memory (channels_last), neighboring threads work on the pieces of one row.
// Otherwise they work on the same piece of neighboring rows, whose points are neighbors too if every location
// of a map has a row.

namespace posecore {
namespace {

template <typename Step>
constexpr bool neighbors = std::is_same_v<Step, One>;

template <int size, typename scalar_t>
__device__ Piece<scalar_t, size> load(const scalar_t* data, int64_t step) {
  Piece<scalar_t, size> piece;
#pragma unroll
  for (int c = 0; c < size; ++c) {
    piece.channels[c] = data[c * step];
  }
  return piece;
}

// points (Q, G, 2) and images (Q,), with the sizes of the maps that they sample.
template <typename point_t>
struct Points {
  const point_t* data;
  const int64_t* images;
  int64_t rows, num_images, height, width;
  int groups, group_channels;

  Points(const at::Tensor& points, const at::Tensor& images, const at::Tensor& maps)
      : data(points.const_data_ptr<point_t>()),
        images(images.const_data_ptr<int64_t>()),
        rows(points.size(0)),
        num_images(maps.size(0)),
        height(maps.size(2)),
        width(maps.size(3)),
        groups(static_cast<int>(points.size(1))),
        group_channels(static_cast<int>(maps.size(1) / points.size(1))) {}

  __device__ Bilinear<point_t> cell(int64_t row, int group) const {
    const point_t* point = data + (row * groups + group) * 2;
    return {point[0], point[1], height, width};
  }

  __device__ int64_t image(int64_t row) const {
    const int64_t image = images[row];
    CUDA_KERNEL_ASSERT(image >= 0 && image < num_images);
    return image;
  }

  // The position in the result at which the channels of a group begin in a row.
  __device__ int64_t offset(int64_t row, int group) const {
    return (row * groups + group) * group_channels;
  }
};

// The row, the group and the first channel in the group of the piece that a thread works on.
struct Place {
  int64_t row;
  int group, channel;
};

// Finds the place of this thread; false if it has nothing to do, as some threads of the last blocks.
template <typename Step, int size, typename point_t>
__device__ bool find(const Points<point_t>& points, Place& place) {
  const int pieces = points.group_channels / size;
  const int64_t row_block = blockIdx.x;
  int piece;
  if constexpr (neighbors<Step>) {
    place.row = row_block * blockDim.y + threadIdx.y;
    piece = blockIdx.y * blockDim.x + threadIdx.x;
  } else {
    place.row = row_block * blockDim.x + threadIdx.x;
    piece = blockIdx.y * blockDim.y + threadIdx.y;
  }
  place.group = piece / pieces;
  place.channel = piece % pieces * size;
  return place.row < points.rows && place.group < points.groups;
}

template <typename scalar_t, int size, typename Step>
__global__ void __launch_bounds__(threads_per_block) sample(
    Maps<const scalar_t, Step> maps,
    Points<at::opmath_type<scalar_t>> points,
    scalar_t* result) {
  using acc_t = at::opmath_type<scalar_t>;
  Place place;
  if (!find<Step, size>(points, place)) {
    return;
  }
  const auto cell = points.cell(place.row, place.group);
  const int64_t image = points.image(place.row);
  const int64_t channel = static_cast<int64_t>(place.group) * points.group_channels + place.channel;
  acc_t sums[size] = {};
#pragma unroll
  for (int k = 0; k < cell.corners; ++k) {
    if (cell.inside(k)) {
      const auto in = load<size>(maps.at(image, channel, cell.row(k), cell.column(k)), maps.channel);
#pragma unroll
      for (int c = 0; c < size; ++c) {
        sums[c] += cell.weight(k) * static_cast<acc_t>(in.channels[c]);
      }
    }
  }
  Piece<scalar_t, size> out;
#pragma unroll
  for (int c = 0; c < size; ++c) {
    out.channels[c] = static_cast<scalar_t>(sums[c]);
  }
  auto* target = result + points.offset(place.row, place.group) + place.channel;
  *reinterpret_cast<Piece<scalar_t, size>*>(target) = out;
}

template <typename scalar_t, int size, typename Step>
__global__ void __launch_bounds__(threads_per_block) add_grad_value(
    const scalar_t* grad,
    Points<at::opmath_type<scalar_t>> points,
    Maps<at::opmath_type<scalar_t>, Step> maps) {
  using acc_t = at::opmath_type<scalar_t>;
  Place place;
  if (!find<Step, size>(points, place)) {
    return;
  }
  const auto cell = points.cell(place.row, place.group);
  const int64_t image = points.image(place.row);
  const int64_t channel = static_cast<int64_t>(place.group) * points.group_channels + place.channel;
  const auto in = load<size>(grad + points.offset(place.row, place.group) + place.channel, One());
#pragma unroll
  for (int k = 0; k < cell.corners; ++k) {
    if (cell.inside(k)) {
      acc_t* out = maps.at(image, channel, cell.row(k), cell.column(k));
#pragma unroll
      for (int c = 0; c < size; ++c) {
        atomicAdd(out + c * maps.channel, cell.weight(k) * static_cast<acc_t>(in.channels[c]));
      }
    }
  }
}

// blockDim.x threads (a power of two, in one warp) share the channels of a point; blockIdx.y is the group.
template <typename scalar_t, int size, typename Step>
__global__ void __launch_bounds__(threads_per_block) grad_points(
    const scalar_t* grad,
    Maps<const scalar_t, Step> maps,
    Points<at::opmath_type<scalar_t>> points,
    at::opmath_type<scalar_t>* result) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t own_row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  // Threads beyond the last row repeat the last row, because whole warps have to reach the sums below.
  const int64_t row = std::min(own_row, points.rows - 1);
  const int group = blockIdx.y;
  const auto cell = points.cell(row, group);
  const int64_t image = points.image(row);
  const int64_t first = static_cast<int64_t>(group) * points.group_channels;
  acc_t sums[4] = {};
  for (int channel = threadIdx.x * size; channel < points.group_channels; channel += blockDim.x * size) {
    const auto in = load<size>(grad + points.offset(row, group) + channel, One());
#pragma unroll
    for (int k = 0; k < cell.corners; ++k) {
      if (cell.inside(k)) {
        const scalar_t* corner = maps.at(image, first + channel, cell.row(k), cell.column(k));
        const auto value = load<size>(corner, maps.channel);
#pragma unroll
        for (int c = 0; c < size; ++c) {
          sums[k] += static_cast<acc_t>(value.channels[c]) * static_cast<acc_t>(in.channels[c]);
        }
      }
    }
  }
  for (int distance = blockDim.x / 2; distance > 0; distance /= 2) {
#pragma unroll
    for (int k = 0; k < cell.corners; ++k) {
      sums[k] += __shfl_down_sync(0xffffffff, sums[k], distance, blockDim.x);
    }
  }
  if (threadIdx.x == 0 && own_row < points.rows) {
    acc_t* out = result + (row * points.groups + group) * 2;
    out[0] = cell.gradient_x(sums);
    out[1] = cell.gradient_y(sums);
  }
}

// The launch of kernels in which each thread works on one piece.
template <typename Step>
Launch one_piece_per_thread(int64_t rows, int64_t pieces) {
  const int across = neighbors<Step> ? power_of_two(pieces, 16) : 8;
  const int down = threads_per_block / across;
  const dim3 grid(divide_up(rows, down), divide_up(pieces, across));
  return {grid, neighbors<Step> ? dim3(across, down) : dim3(down, across)};
}

// The launch of kernels in which several threads share the pieces of a point.
template <typename Step>
Launch threads_share_a_point(int64_t rows, int64_t groups, int64_t pieces_per_group) {
  const int across = neighbors<Step> ? power_of_two(pieces_per_group, 32) : 1;
  const int down = threads_per_block / across;
  return {dim3(divide_up(rows, down), groups), dim3(across, down)};
}

// Whether the groups of rows (Q, C) can be read in wide pieces.
bool wide_rows(const at::Tensor& rows, int64_t groups) {
  return holds_wide_pieces(rows, {rows.size(1) / groups});
}

// Whether maps (N, C, H, W) can be read in wide pieces. If channels are not neighbors, they are read one by
// one anyway.
bool wide_maps(const at::Tensor& maps) {
  return !channels_are_neighbors(maps) ||
      holds_wide_pieces(maps, {maps.stride(0), maps.stride(2), maps.stride(3)});
}

// Calls body(size, step) with the number of channels per piece and the distance between channels.
template <typename scalar_t, typename Body>
void with_piece_and_step(bool wide, const at::Tensor& maps, const Body& body) {
  with_channel_step(maps, [&](auto step) {
    with_piece<scalar_t>(wide, [&](auto size) { body(size, step); });
  });
}

at::Tensor keypoint_sample(const at::Tensor& value, const at::Tensor& points, const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  const c10::cuda::CUDAGuard guard(value.device());
  const int64_t rows = points.size(0), groups = points.size(1), channels = value.size(1);
  const at::Tensor result = at::empty({rows, channels}, value.options());
  if (result.numel() == 0) {
    return result;
  }
  const at::Tensor all_points = points.contiguous(), all_images = images.contiguous();
  const bool wide = wide_rows(result, groups) && wide_maps(value);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    with_piece_and_step<scalar_t>(wide, value, [&](auto size, auto step) {
      using Step = decltype(step);
      const auto launch = one_piece_per_thread<Step>(rows, channels / size);
      sample<scalar_t, decltype(size)::value, Step>
          <<<launch.grid, launch.block, 0, c10::cuda::getCurrentCUDAStream()>>>(
              Maps<const scalar_t, Step>(value.const_data_ptr<scalar_t>(), value, step),
              Points<at::opmath_type<scalar_t>>(all_points, all_images, value),
              result.mutable_data_ptr<scalar_t>());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
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
  // Rows that sample the same cell are added in any order.
  at::globalContext().alertNotDeterministic("keypoint_sample_grad_value");
  const c10::cuda::CUDAGuard guard(value.device());
  const int64_t rows = points.size(0), groups = points.size(1), channels = value.size(1);
  // The result has the type of the points, so half-precision gradients are summed in single precision.
  const at::Tensor result = at::zeros_like(value, value.options().dtype(points.scalar_type()));
  if (grad.numel() == 0) {
    return result.to(value.scalar_type());
  }
  const at::Tensor all_grads = grad.contiguous();
  const at::Tensor all_points = points.contiguous(), all_images = images.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    with_piece_and_step<scalar_t>(wide_rows(all_grads, groups), result, [&](auto size, auto step) {
      using Step = decltype(step);
      const auto launch = one_piece_per_thread<Step>(rows, channels / size);
      add_grad_value<scalar_t, decltype(size)::value, Step>
          <<<launch.grid, launch.block, 0, c10::cuda::getCurrentCUDAStream()>>>(
              all_grads.const_data_ptr<scalar_t>(),
              Points<acc_t>(all_points, all_images, result),
              Maps<acc_t, Step>(result.mutable_data_ptr<acc_t>(), result, step));
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return result.to(value.scalar_type());
}

at::Tensor keypoint_sample_grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  check_keypoint_sample_grad(grad, value, points);
  const c10::cuda::CUDAGuard guard(value.device());
  const int64_t rows = points.size(0), groups = points.size(1), group_channels = value.size(1) / groups;
  const at::Tensor result = at::zeros(points.sizes(), points.options());
  if (grad.numel() == 0) {
    return result;
  }
  const at::Tensor all_grads = grad.contiguous();
  const at::Tensor all_points = points.contiguous(), all_images = images.contiguous();
  const bool wide = wide_rows(all_grads, groups) && wide_maps(value);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    with_piece_and_step<scalar_t>(wide, value, [&](auto size, auto step) {
      using Step = decltype(step);
      const auto launch = threads_share_a_point<Step>(rows, groups, group_channels / size);
      grad_points<scalar_t, decltype(size)::value, Step>
          <<<launch.grid, launch.block, 0, c10::cuda::getCurrentCUDAStream()>>>(
              all_grads.const_data_ptr<scalar_t>(),
              Maps<const scalar_t, Step>(value.const_data_ptr<scalar_t>(), value, step),
              Points<acc_t>(all_points, all_images, value),
              result.mutable_data_ptr<acc_t>());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return result;
}

} // namespace

TORCH_LIBRARY_IMPL(posecore, CUDA, m) {
  m.impl("keypoint_sample", keypoint_sample);
  m.impl("keypoint_sample_grad_value", keypoint_sample_grad_value);
  m.impl("keypoint_sample_grad_points", keypoint_sample_grad_points);
}

} // namespace posecore
