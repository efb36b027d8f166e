#include "../ms_deform_attn.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../bilinear.h"
#include "../map.h"
#include "huge_pages.h"
#include "read.h"
#include "threads.h"

namespace posecore {
namespace {

// Computes result (N, Q, H, C).
template <typename scalar_t, typename acc_t>
void attend(const at::Tensor& value, const Attention<acc_t>& attention, const at::Tensor& result) {
  const int64_t channels = value.size(3);
  const Values<const scalar_t> values(value.const_data_ptr<scalar_t>(), value);
  scalar_t* results = result.mutable_data_ptr<scalar_t>();
  const int64_t grain = least_pieces(channels * attention.points_per_row());
  at::parallel_for(0, attention.rows(), grain, [&](int64_t begin, int64_t end) {
    std::vector<acc_t> memory(channels);
    acc_t* __restrict__ sums = memory.data();
    for (int64_t row = begin; row < end; ++row) {
      std::fill_n(sums, channels, acc_t(0));
      attention.for_each_point(
          row, values, 0, [&](int64_t i, const auto&, const auto& map, const auto& cell) {
            const acc_t weight = attention.weights[i];
            read(map, cell, channels, [&](int64_t c, acc_t number) { sums[c] += weight * number; });
          });
      std::copy_n(sums, channels, results + row * channels);
    }
  });
}

// Adds the gradient of value to sums (N, R, G, C). Threads work on groups of images and on blocks of their
// channels. So no two threads write to the same number, and a cell sums its rows in the same order for any
// number of threads.
template <typename scalar_t, typename acc_t>
void add_grad_value(const at::Tensor& grad, const Attention<acc_t>& attention, const at::Tensor& sums) {
  constexpr int64_t most_channels = 64 / sizeof(acc_t); // channels of a block: one cache line
  const int64_t channels = sums.size(3), groups = sums.size(2);
  const int64_t blocks = (channels + most_channels - 1) / most_channels;
  const int64_t rows = attention.queries * attention.heads_per_group; // rows of a group
  const scalar_t* grads = grad.const_data_ptr<scalar_t>();
  const Values<acc_t> values(sums.mutable_data_ptr<acc_t>(), sums);
  const int64_t grain = least_pieces(rows * attention.points_per_row() * most_channels);
  at::parallel_for(0, attention.num_images * groups * blocks, grain, [&](int64_t begin, int64_t end) {
    std::vector<acc_t> row_grad(channels);
    for (int64_t block = begin, next; block < end; block = next) {
      // All blocks of one group that this thread works on are computed at once.
      next = std::min(end, (block / blocks + 1) * blocks);
      const int64_t image = block / blocks / groups, group = block / blocks % groups;
      const int64_t first = block % blocks * most_channels;
      const int64_t count = std::min(channels - first, (next - block) * most_channels);
      for (int64_t q = 0; q < attention.queries; ++q) {
        for (int64_t h = 0; h < attention.heads_per_group; ++h) {
          const int64_t row =
              (image * attention.queries + q) * attention.heads + group * attention.heads_per_group + h;
          std::copy_n(grads + row * channels + first, count, row_grad.data());
          attention.for_each_point(
              row, values, first, [&](int64_t i, const auto&, const auto& map, const auto& cell) {
                add_grad(map, cell, count, attention.weights[i], row_grad.data());
              });
        }
      }
    }
  });
}

// Computes the gradients of locations (N, Q, H, L, P, 2) and of weights (N, Q, H, L, P).
template <typename scalar_t, typename acc_t>
void grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    const Attention<acc_t>& attention,
    const at::Tensor& grad_locations,
    const at::Tensor& grad_weights) {
  const int64_t channels = value.size(3);
  const scalar_t* grads = grad.const_data_ptr<scalar_t>();
  const Values<const scalar_t> values(value.const_data_ptr<scalar_t>(), value);
  acc_t* location_data = grad_locations.mutable_data_ptr<acc_t>();
  acc_t* weight_data = grad_weights.mutable_data_ptr<acc_t>();
  const int64_t grain = least_pieces(channels * attention.points_per_row());
  at::parallel_for(0, attention.rows(), grain, [&](int64_t begin, int64_t end) {
    std::vector<acc_t> row_grad(channels);
    for (int64_t row = begin; row < end; ++row) {
      std::copy_n(grads + row * channels, channels, row_grad.data());
      attention.for_each_point(
          row, values, 0, [&](int64_t i, const auto& level, const auto& map, const auto& cell) {
            acc_t sums[Bilinear<acc_t>::corners];
            dot_grad(map, cell, channels, row_grad.data(), sums);
            weight_data[i] = cell.read(sums);
            location_data[2 * i] = attention.weights[i] * level.width * cell.gradient_x(sums);
            location_data[2 * i + 1] = attention.weights[i] * level.height * cell.gradient_y(sums);
          });
    }
  });
}

at::Tensor ms_deform_attn(
    const at::Tensor& value,
    at::IntArrayRef shapes,
    const at::Tensor& locations,
    const at::Tensor& weights) {
  check_ms_deform_attn(value, shapes, locations, weights);
  const at::Tensor all_locations = locations.contiguous(), all_weights = weights.contiguous();
  const at::Tensor result = with_huge_pages(at::empty(
      {value.size(0), locations.size(1), locations.size(2), value.size(3)}, value.options()));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "ms_deform_attn", [&] {
    const Attention<at::opmath_type<scalar_t>> attention(value, shapes, all_locations, all_weights);
    attend<scalar_t>(with_neighboring_channels(value), attention, result);
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
  const at::Tensor all_locations = locations.contiguous(), all_weights = weights.contiguous();
  const at::Tensor all_grads = grad.contiguous();
  // The sums have the type of the locations, so half-precision gradients are summed in single precision.
  const at::Tensor sums = with_huge_pages(at::empty(value.sizes(), locations.options())).zero_();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "ms_deform_attn", [&] {
    const Attention<at::opmath_type<scalar_t>> attention(value, shapes, all_locations, all_weights);
    add_grad_value<scalar_t>(all_grads, attention, sums);
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
  const at::Tensor all_locations = locations.contiguous(), all_weights = weights.contiguous();
  const at::Tensor grad_locations = at::empty(locations.sizes(), locations.options());
  const at::Tensor grad_weights = at::empty(weights.sizes(), weights.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "ms_deform_attn", [&] {
    const Attention<at::opmath_type<scalar_t>> attention(value, shapes, all_locations, all_weights);
    grad_points<scalar_t>(
        grad.contiguous(), with_neighboring_channels(value), attention, grad_locations, grad_weights);
  });
  return {grad_locations, grad_weights};
}

} // namespace

TORCH_LIBRARY_IMPL(posecore, CPU, m) {
  m.impl("ms_deform_attn", ms_deform_attn);
  m.impl("ms_deform_attn_grad_value", ms_deform_attn_grad_value);
  m.impl("ms_deform_attn_grad_points", ms_deform_attn_grad_points);
}

} // namespace posecore
