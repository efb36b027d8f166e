#include "../ms_deform_attn.h"

#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <type_traits>

#include "../bilinear.h"
#include "pieces.h"

// Neighboring threads work on neighboring pieces of the channels of a row. So their reads of a cell are
// contiguous, and the position of the cell is computed once per piece, not once per channel.

namespace posecore {
namespace {

// Computes the result (N, Q, H, C), one piece per thread.
template <typename scalar_t, int size>
__global__ void __launch_bounds__(threads_per_block) attend(
    const __grid_constant__ Attention<at::opmath_type<scalar_t>> attention,
    Values<const scalar_t> values,
    int64_t rows,
    int channels,
    scalar_t* result) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const int channel = (blockIdx.y * blockDim.x + threadIdx.x) * size;
  if (row >= rows || channel >= channels) {
    return;
  }
  acc_t sums[size] = {};
  attention.for_each_point(
      row, values, channel, [&](int64_t i, const auto&, const auto& map, const Bilinear<acc_t>& cell) {
        const acc_t weight = attention.weights[i];
#pragma unroll
        for (int k = 0; k < cell.corners; ++k) {
          if (cell.inside(k)) {
            const auto in = load<size>(map.at(cell, k), One());
            const acc_t share = weight * cell.weight(k);
#pragma unroll
            for (int c = 0; c < size; ++c) {
              sums[c] += share * static_cast<acc_t>(in.channels[c]);
            }
          }
        }
      });
  Piece<scalar_t, size> out;
#pragma unroll
  for (int c = 0; c < size; ++c) {
    out.channels[c] = static_cast<scalar_t>(sums[c]);
  }
  *reinterpret_cast<Piece<scalar_t, size>*>(result + row * channels + channel) = out;
}

// Adds share * in to sums, four channels at once if the GPU supports it. A piece of more than one channel
// lies at a multiple of 16 bytes.
template <int size, typename scalar_t, typename acc_t>
__device__ void add(acc_t* sums, acc_t share, const Piece<scalar_t, size>& in) {
#if __CUDA_ARCH__ >= 900
  if constexpr (std::is_same_v<acc_t, float> && size % 4 == 0) {
#pragma unroll
    for (int c = 0; c < size; c += 4) {
      atomicAdd(
          reinterpret_cast<float4*>(sums + c),
          make_float4(
              share * static_cast<float>(in.channels[c]),
              share * static_cast<float>(in.channels[c + 1]),
              share * static_cast<float>(in.channels[c + 2]),
              share * static_cast<float>(in.channels[c + 3])));
    }
  } else
#endif
  {
#pragma unroll
    for (int c = 0; c < size; ++c) {
      atomicAdd(sums + c, share * static_cast<acc_t>(in.channels[c]));
    }
  }
}

// Adds the gradient of value to sums; each thread reads one piece of grad (N, Q, H, C).
template <typename scalar_t, int size>
__global__ void __launch_bounds__(threads_per_block) add_grad_value(
    const __grid_constant__ Attention<at::opmath_type<scalar_t>> attention,
    const scalar_t* grad,
    int64_t rows,
    int channels,
    Values<at::opmath_type<scalar_t>> sums) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const int channel = (blockIdx.y * blockDim.x + threadIdx.x) * size;
  if (row >= rows || channel >= channels) {
    return;
  }
  const auto in = load<size>(grad + row * channels + channel, One());
  attention.for_each_point(
      row, sums, channel, [&](int64_t i, const auto&, const auto& map, const Bilinear<acc_t>& cell) {
        const acc_t weight = attention.weights[i];
#pragma unroll
        for (int k = 0; k < cell.corners; ++k) {
          if (cell.inside(k)) {
            add<size>(map.at(cell, k), weight * cell.weight(k), in);
          }
        }
      });
}

// blockDim.x threads (a power of two, in one warp) share the channels of a row.
template <typename scalar_t, int size>
__global__ void __launch_bounds__(threads_per_block) grad_points(
    const __grid_constant__ Attention<at::opmath_type<scalar_t>> attention,
    const scalar_t* grad,
    Values<const scalar_t> values,
    int64_t rows,
    int channels,
    at::opmath_type<scalar_t>* grad_locations,
    at::opmath_type<scalar_t>* grad_weights) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t own_row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  // Threads beyond the last row repeat the last row, because whole warps have to reach the sums below.
  const int64_t row = std::min(own_row, rows - 1);
  attention.for_each_point(
      row, values, 0, [&](int64_t i, const auto& level, const auto& map, const Bilinear<acc_t>& cell) {
        acc_t sums[Bilinear<acc_t>::corners] = {};
        for (int channel = threadIdx.x * size; channel < channels; channel += blockDim.x * size) {
          const auto in = load<size>(grad + row * channels + channel, One());
#pragma unroll
          for (int k = 0; k < cell.corners; ++k) {
            if (cell.inside(k)) {
              const auto corner = load<size>(map.at(cell, k) + channel, One());
#pragma unroll
              for (int c = 0; c < size; ++c) {
                sums[k] += static_cast<acc_t>(corner.channels[c]) * static_cast<acc_t>(in.channels[c]);
              }
            }
          }
        }
        // All three are linear in the sums, so the values of the threads can be added.
        acc_t read = cell.read(sums), by_x = cell.gradient_x(sums), by_y = cell.gradient_y(sums);
        for (int distance = blockDim.x / 2; distance > 0; distance /= 2) {
          read += __shfl_down_sync(0xffffffff, read, distance, blockDim.x);
          by_x += __shfl_down_sync(0xffffffff, by_x, distance, blockDim.x);
          by_y += __shfl_down_sync(0xffffffff, by_y, distance, blockDim.x);
        }
        if (threadIdx.x == 0 && own_row < rows) {
          const acc_t weight = attention.weights[i];
          grad_weights[i] = read;
          grad_locations[2 * i] = weight * level.width * by_x;
          grad_locations[2 * i + 1] = weight * level.height * by_y;
        }
      });
}

// The launch of kernels in which each thread works on one piece, or several threads share the pieces of a
// row.
Launch launch(int64_t rows, int64_t pieces, bool one_piece_per_thread) {
  const int across = power_of_two(pieces, 32), down = threads_per_block / across;
  const int64_t columns = one_piece_per_thread ? divide_up(pieces, across) : 1;
  return {dim3(divide_up(rows, down), columns), dim3(across, down)};
}

// Whether the channels of (N, R, G, C) or (N, Q, H, C) can be read in wide pieces.
bool wide_channels(const at::Tensor& values) {
  return holds_wide_pieces(
      values, {values.stride(0), values.stride(1), values.stride(2), values.size(3)});
}

at::Tensor ms_deform_attn(
    const at::Tensor& value,
    at::IntArrayRef shapes,
    const at::Tensor& locations,
    const at::Tensor& weights) {
  check_ms_deform_attn(value, shapes, locations, weights);
  const c10::cuda::CUDAGuard guard(value.device());
  const int64_t channels = value.size(3);
  const at::Tensor result =
      at::empty({value.size(0), locations.size(1), locations.size(2), channels}, value.options());
  if (result.numel() == 0) {
    return result;
  }
  const at::Tensor all_values = with_neighboring_channels(value);
  const at::Tensor all_locations = locations.contiguous(), all_weights = weights.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "ms_deform_attn", [&] {
    const Attention<at::opmath_type<scalar_t>> attention(value, shapes, all_locations, all_weights);
    with_piece<scalar_t>(wide_channels(all_values), [&](auto size) {
      const auto [grid, block] = launch(attention.rows(), channels / size, true);
      attend<scalar_t, decltype(size)::value><<<grid, block, 0, c10::cuda::getCurrentCUDAStream()>>>(
          attention,
          Values<const scalar_t>(all_values.const_data_ptr<scalar_t>(), all_values),
          attention.rows(),
          channels,
          result.mutable_data_ptr<scalar_t>());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return result;
}

at::Tensor ms_deform_attn_grad_value(
    const at::Tensor& grad,
    const at::Tensor& value,
    at::IntArrayRef shapes,
    const at::Tensor& locations,
    const at::Tensor& weights) {
  check_ms_deform_attn(value, shapes, locations, weights);
  check_ms_deform_attn_grad(grad, value, locations);
  // Rows that sample the same cell are added in any order.
  at::globalContext().alertNotDeterministic("ms_deform_attn_grad_value");
  const c10::cuda::CUDAGuard guard(value.device());
  const int64_t channels = value.size(3);
  // The sums have the type of the locations, so half-precision gradients are summed in single precision.
  const at::Tensor sums = at::zeros(value.sizes(), locations.options());
  if (grad.numel() == 0) {
    return sums.to(value.scalar_type());
  }
  const at::Tensor all_grads = grad.contiguous();
  const at::Tensor all_locations = locations.contiguous(), all_weights = weights.contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "ms_deform_attn", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const Attention<acc_t> attention(value, shapes, all_locations, all_weights);
    // If the gradients can be read in wide pieces, the sums can be too, as their numbers are at least as
    // large.
    with_piece<scalar_t>(wide_channels(all_grads), [&](auto size) {
      const auto [grid, block] = launch(attention.rows(), channels / size, true);
      add_grad_value<scalar_t, decltype(size)::value>
          <<<grid, block, 0, c10::cuda::getCurrentCUDAStream()>>>(
              attention,
              all_grads.const_data_ptr<scalar_t>(),
              attention.rows(),
              channels,
              Values<acc_t>(sums.mutable_data_ptr<acc_t>(), sums));
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return sums.to(value.scalar_type());
}

std::tuple<at::Tensor, at::Tensor> ms_deform_attn_grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    at::IntArrayRef shapes,
    const at::Tensor& locations,
    const at::Tensor& weights) {
  check_ms_deform_attn(value, shapes, locations, weights);
  check_ms_deform_attn_grad(grad, value, locations);
  const c10::cuda::CUDAGuard guard(value.device());
  const int64_t channels = value.size(3);
  const at::Tensor grad_locations = at::zeros(locations.sizes(), locations.options());
  const at::Tensor grad_weights = at::zeros(weights.sizes(), weights.options());
  if (grad.numel() == 0) {
    return {grad_locations, grad_weights};
  }
  const at::Tensor all_grads = grad.contiguous(), all_values = with_neighboring_channels(value);
  const at::Tensor all_locations = locations.contiguous(), all_weights = weights.contiguous();
  const bool wide = wide_channels(all_grads) && wide_channels(all_values);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "ms_deform_attn", [&] {
    using acc_t = at::opmath_type<scalar_t>;
    const Attention<acc_t> attention(value, shapes, all_locations, all_weights);
    with_piece<scalar_t>(wide, [&](auto size) {
      const auto [grid, block] = launch(attention.rows(), channels / size, false);
      grad_points<scalar_t, decltype(size)::value><<<grid, block, 0, c10::cuda::getCurrentCUDAStream()>>>(
          attention,
          all_grads.const_data_ptr<scalar_t>(),
          Values<const scalar_t>(all_values.const_data_ptr<scalar_t>(), all_values),
          attention.rows(),
          channels,
          grad_locations.mutable_data_ptr<acc_t>(),
          grad_weights.mutable_data_ptr<acc_t>());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
    });
  });
  return {grad_locations, grad_weights};
}

} // namespace

TORCH_LIBRARY_IMPL(posecore, CUDA, m) {
  m.impl("ms_deform_attn", ms_deform_attn);
  m.impl("ms_deform_attn_grad_value", ms_deform_attn_grad_value);
  m.impl("ms_deform_attn_grad_points", ms_deform_attn_grad_points);
}

} // namespace posecore
