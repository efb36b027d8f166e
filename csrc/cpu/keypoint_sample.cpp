#include "../keypoint_sample.h"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "../bilinear.h"
#include "channel_blocks.h"
#include "huge_pages.h"
#include "read.h"
#include "threads.h"

namespace posecore {
namespace {

// Letters in all kernels: N images, C channels, H x W cells, Q rows of G points. Maps (N, C, H, W) may have
// any strides. points (Q, G, 2), images (Q,) and grad (Q, C) are contiguous, and so are results of these
// shapes.

// In contiguous maps the channels of a cell are far apart in memory. Unless few cells are read, it is faster
// to work on a copy of a block in which they are neighbors; the copy stays in the cache.
bool worth_copying(const at::Tensor& maps, const at::Tensor& points) {
  const int64_t height = maps.size(2), width = maps.size(3), cells = maps.size(0) * height * width;
  const int64_t group_channels = maps.size(1) / points.size(1);
  const bool contiguous = maps.stride(3) == 1 && maps.stride(2) == width;
  return contiguous && !channels_are_neighbors(maps) && group_channels >= 8 && 8 * points.size(0) >= cells;
}

// Calls body(channels, q, cell) for the point of every row q and every group, or for every block of the group
// if blocks are copied. The body reads or writes row q of numbers (Q, C).
template <typename scalar_t, typename Body>
void for_each_point(
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images,
    const scalar_t* numbers,
    const Body& body) {
  using acc_t = at::opmath_type<scalar_t>;
  const int64_t height = value.size(2), width = value.size(3), groups = points.size(1);
  const acc_t* point_data = points.const_data_ptr<acc_t>();
  const auto cell = [&](int64_t q, int64_t g) {
    const acc_t* point = point_data + (q * groups + g) * 2;
    return Bilinear<acc_t>(point[0], point[1], height, width);
  };

  if (worth_copying(value, points)) {
    const Blocks blocks(value, points, images);
    blocks.share_out([&](int64_t begin, int64_t end) {
      const BlockCopy<scalar_t> copy(value);
      for (int64_t i = begin; i < end; ++i) {
        const auto channels = copy.read(blocks[i], value);
        blocks.for_each_row(
            blocks[i], numbers, [&](int64_t q) { body(channels, q, cell(q, blocks[i].group)); });
      }
    });
    return;
  }

  const int64_t* image_of = images.const_data_ptr<int64_t>();
  const int64_t count = value.size(1) / groups;
  const int64_t grain = least_pieces(value.size(1));
  with_channel_step(value, [&](auto step) {
    const Maps<const scalar_t, decltype(step)> maps(value.const_data_ptr<scalar_t>(), value, step);
    at::parallel_for(0, points.size(0), grain, [&](int64_t begin, int64_t end) {
      for (int64_t q = begin; q < end; ++q) {
        for (int64_t g = 0; g < groups; ++g) {
          const Block group{image_of[q], g, 0, g * count, count};
          const scalar_t* data = maps.at(group.image, group.first, 0, 0);
          const Channels<const scalar_t, decltype(step)> channels{group, {data, maps.row, maps.column, step}};
          body(channels, q, cell(q, g));
        }
      }
    });
  });
}

// Samples value at the points into result (Q, C).
template <typename scalar_t>
void sample(
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images,
    const at::Tensor& result) {
  using acc_t = at::opmath_type<scalar_t>;
  scalar_t* results = result.mutable_data_ptr<scalar_t>();
  const int64_t all_channels = value.size(1);

  const auto write = [&](const auto& channels, int64_t q, const Bilinear<acc_t>& cell) {
    scalar_t* __restrict__ out = results + q * all_channels + channels.block.first;
    read(channels.map, cell, channels.block.count, [&](int64_t c, acc_t number) {
      out[c] = static_cast<scalar_t>(number);
    });
  };
  for_each_point<scalar_t>(value, points, images, results, write);
}

// The gradient of the points, (Q, G, 2).
template <typename scalar_t>
at::Tensor grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  using acc_t = at::opmath_type<scalar_t>;
  const scalar_t* grads = grad.const_data_ptr<scalar_t>();
  const int64_t groups = points.size(1), all_channels = value.size(1), rows = points.size(0);
  // Several threads may work on the blocks of a group, so each block has its own result. The results are
  // added at the end.
  const int64_t parts =
      worth_copying(value, points) ? (all_channels / groups - 1) / Blocks::most_channels + 1 : 1;
  const at::Tensor results = at::empty({parts, rows, groups, 2}, points.options());
  acc_t* result_data = results.mutable_data_ptr<acc_t>();

  const auto pass_back = [&](const auto& channels, int64_t q, const Bilinear<acc_t>& cell) {
    const Block& block = channels.block;
    acc_t sums[Bilinear<acc_t>::corners];
    dot_grad(channels.map, cell, block.count, grads + q * all_channels + block.first, sums);
    acc_t* out = result_data + ((block.part * rows + q) * groups + block.group) * 2;
    out[0] = cell.gradient_x(sums);
    out[1] = cell.gradient_y(sums);
  };
  for_each_point<scalar_t>(value, points, images, grads, pass_back);

  at::Tensor result = results.select(0, 0);
  for (int64_t part = 1; part < parts; ++part) {
    result = result.add(results.select(0, part));
  }
  return result;
}

// The gradient of value, (N, C, H, W), in its layout and type. Threads work on blocks, not on rows. So no two
// threads write to the same cell, and a cell sums its rows in the same order for any number of threads.
template <typename scalar_t>
at::Tensor grad_value(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  using acc_t = at::opmath_type<scalar_t>;
  const scalar_t* grads = grad.const_data_ptr<scalar_t>();
  const acc_t* point_data = points.const_data_ptr<acc_t>();
  const int64_t groups = points.size(1);
  const int64_t all_channels = value.size(1), height = value.size(2), width = value.size(3);

  const auto add = [&](const auto& channels, int64_t q) {
    const Block& block = channels.block;
    const acc_t* point = point_data + (q * groups + block.group) * 2;
    const Bilinear<acc_t> cell(point[0], point[1], height, width);
    add_grad(channels.map, cell, block.count, acc_t(1), grads + q * all_channels + block.first);
  };

  const Blocks blocks(value, points, images);
  const at::Tensor result = with_huge_pages(at::empty_like(value));
  if (worth_copying(result, points)) {
    blocks.share_out([&](int64_t begin, int64_t end) {
      const BlockCopy<acc_t> sums(result);
      for (int64_t i = begin; i < end; ++i) {
        const auto channels = sums.zeros(blocks[i]);
        blocks.for_each_row(blocks[i], grads, [&](int64_t q) { add(channels, q); });
        sums.template write<scalar_t>(blocks[i], result);
      }
    });
    return result;
  }

  const at::Tensor sums = result.to(points.scalar_type()).zero_();
  with_channel_step(sums, [&](auto step) {
    const Maps<acc_t, decltype(step)> maps(sums.mutable_data_ptr<acc_t>(), sums, step);
    blocks.share_out([&](int64_t begin, int64_t end) {
      // Row by row, because the blocks of a row are neighbors in memory.
      for (int64_t i = begin, next = begin; i < end; i = next) {
        while (next < end && blocks[next].image == blocks[i].image) {
          ++next;
        }
        for (const int64_t q : blocks.rows(blocks[i])) {
          for (int64_t j = i; j < next; ++j) {
            acc_t* data = maps.at(blocks[j].image, blocks[j].first, 0, 0);
            add(Channels<acc_t, decltype(step)>{blocks[j], {data, maps.row, maps.column, step}}, q);
          }
        }
      }
    });
  });
  return sums.to(value.scalar_type());
}

void check_images(const at::Tensor& images, int64_t num_images) {
  const at::Tensor contiguous = images.contiguous();
  const int64_t* data = contiguous.const_data_ptr<int64_t>();
  for (int64_t q = 0; q < contiguous.size(0); ++q) {
    TORCH_CHECK_INDEX(
        data[q] >= 0 && data[q] < num_images,
        "keypoint_sample: images[",
        q,
        "] is ",
        data[q],
        ", but value has ",
        num_images,
        " images");
  }
}

at::Tensor keypoint_sample(const at::Tensor& value, const at::Tensor& points, const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  check_images(images, value.size(0));

  const at::Tensor result = with_huge_pages(at::empty({points.size(0), value.size(1)}, value.options()));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    sample<scalar_t>(value, points.contiguous(), images.contiguous(), result);
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

  at::Tensor result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    result = grad_value<scalar_t>(grad.contiguous(), value, points.contiguous(), images.contiguous());
  });
  return result;
}

at::Tensor keypoint_sample_grad_points(
    const at::Tensor& grad,
    const at::Tensor& value,
    const at::Tensor& points,
    const at::Tensor& images) {
  check_keypoint_sample(value, points, images);
  check_keypoint_sample_grad(grad, value, points);
  check_images(images, value.size(0));

  at::Tensor result;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, value.scalar_type(), "keypoint_sample", [&] {
    result = grad_points<scalar_t>(grad.contiguous(), value, points.contiguous(), images.contiguous());
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
