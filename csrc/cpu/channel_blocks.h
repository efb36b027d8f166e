// Blocks of channels, which the CPU kernels of keypoint_sample distribute over threads and copy.
//
// Letters as in ../keypoint_sample.h.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../keypoint_sample.h"
#include "../map.h"
#include "threads.h"
#include "transpose.h"

namespace posecore {

// Neighboring channels of one group of one image.
struct Block {
  int64_t image;
  int64_t group;
  int64_t part; // index of the block within the group
  int64_t first, count; // first channel, counted from the start of the image, and number of channels
};

// A block and its position in memory.
template <typename scalar_t, typename Step>
struct Channels {
  Block block;
  Map<scalar_t, Step> map;
};

// All blocks, image by image. Threads work on blocks where they cannot work on rows. The blocks do not depend
// on the number of threads.
class Blocks {
 public:
  Blocks(const at::Tensor& maps, const at::Tensor& points, const at::Tensor& images)
      : all_channels_(maps.size(1)), rows_(maps.size(0)) {
    const int64_t channels = all_channels_ / points.size(1);
    for (int64_t n = 0; n < maps.size(0); ++n) {
      for (int64_t g = 0; g < points.size(1); ++g) {
        for (int64_t c = 0; c < channels; c += most_channels) {
          const int64_t count = std::min(most_channels, channels - c);
          blocks_.push_back({n, g, c / most_channels, g * channels + c, count});
        }
      }
    }
    const int64_t* image_of = images.const_data_ptr<int64_t>();
    for (int64_t q = 0; q < images.size(0); ++q) {
      rows_[image_of[q]].push_back(q);
    }
  }

  const Block& operator[](int64_t i) const {
    return blocks_[i];
  }

  const std::vector<int64_t>& rows(const Block& block) const {
    return rows_[block.image];
  }

  // Calls body(begin, end) for ranges of blocks, on several threads.
  template <typename Body>
  void share_out(const Body& body) const {
    int64_t numbers = 0;
    for (const auto& rows : rows_) {
      numbers += rows.size() * all_channels_;
    }
    const int64_t size = blocks_.size();
    at::parallel_for(0, size, least_pieces(numbers / std::max<int64_t>(size, 1)), body);
  }

  // Calls body(q) for the rows of a block. Their numbers in numbers (Q, C) are too far apart for the
  // prefetcher of the processor, so they are prefetched explicitly.
  template <typename scalar_t, typename Body>
  void for_each_row(const Block& block, const scalar_t* numbers, const Body& body) const {
    constexpr size_t ahead = 32, cache_line = 64 / sizeof(scalar_t);
    const std::vector<int64_t>& rows = rows_[block.image];
    for (size_t i = 0; i < rows.size(); ++i) {
      if (i + ahead < rows.size()) {
        const scalar_t* later = numbers + rows[i + ahead] * all_channels_ + block.first;
        for (int64_t c = 0; c < block.count; c += cache_line) {
          __builtin_prefetch(later + c);
        }
      }
      body(rows[i]);
    }
  }

  static constexpr int64_t most_channels = 32;

 private:
  int64_t all_channels_;
  std::vector<Block> blocks_;
  std::vector<std::vector<int64_t>> rows_;
};

// The memory of a thread for a channels_last copy of one block of maps at a time. The cells of a channel of
// the maps must be contiguous; channels and images may lie at any distance.
template <typename scalar_t>
class BlockCopy {
 public:
  explicit BlockCopy(const at::Tensor& maps)
      : width_(maps.size(3)),
        cells_(maps.size(2) * width_),
        memory_(c10::GetCPUAllocator()->allocate(cells_ * Blocks::most_channels * sizeof(scalar_t))),
        data_(static_cast<scalar_t*>(memory_.get())) {}

  // A copy of the channels of the block.
  Channels<const scalar_t, One> read(const Block& block, const at::Tensor& maps) const {
    const scalar_t* from = maps.const_data_ptr<scalar_t>() + offset(block, maps);
    transpose(from, maps.stride(1), block.count, cells_, data_, block.count);
    return {block, {data_, width_ * block.count, block.count, One()}};
  }

  // Zeros for the channels of the block.
  Channels<scalar_t, One> zeros(const Block& block) const {
    std::fill_n(data_, cells_ * block.count, scalar_t(0));
    return {block, {data_, width_ * block.count, block.count, One()}};
  }

  // Writes the copy to the channels of the block.
  template <typename to_t>
  void write(const Block& block, const at::Tensor& maps) const {
    to_t* to = maps.mutable_data_ptr<to_t>() + offset(block, maps);
    transpose(data_, block.count, cells_, block.count, to, maps.stride(1));
  }

 private:
  static int64_t offset(const Block& block, const at::Tensor& maps) {
    return block.image * maps.stride(0) + block.first * maps.stride(1);
  }

  int64_t width_, cells_;
  at::DataPtr memory_;
  scalar_t* data_;
};

} // namespace posecore
