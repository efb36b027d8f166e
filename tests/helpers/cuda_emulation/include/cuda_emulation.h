// What the kernels of csrc/cuda use of CUDA, for the CPU: blocks, threads, shuffles within a warp, atomics.
//
// The threads of a block run one after another, warp by warp. Each is a context with its own stack, which
// stops at a shuffle until its warp has come there too. So results do not depend on luck, and an address
// sanitizer sees each read and write. Shared memory and __syncthreads are not here, because no kernel uses
// them.

#pragma once

// Before the macros below, which these headers must not see.
#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <vector>

#define __global__
#define __device__
#define __grid_constant__
#define __launch_bounds__(threads)
#define __CUDA_ARCH__ 900
#undef CUDA_KERNEL_ASSERT
#define CUDA_KERNEL_ASSERT(condition) cuda_emulation::require(condition, "not so: " #condition)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;

  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}

  uint64_t volume() const {
    return uint64_t(x) * y * z;
  }
};

struct alignas(16) float4 {
  float x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace cuda_emulation {

constexpr unsigned warp_size = 32;
constexpr size_t stack_size = 1 << 18;

inline void require(bool condition, const char* message) {
  if (!condition) {
    std::fprintf(
        stderr,
        "CUDA emulation: block (%u, %u, %u), thread (%u, %u, %u): %s\n",
        blockIdx.x,
        blockIdx.y,
        blockIdx.z,
        threadIdx.x,
        threadIdx.y,
        threadIdx.z,
        message);
    std::abort();
  }
}

// The threads of one warp. All warps use the same one, as they run one after another.
class Warp {
 public:
  static Warp& instance() {
    static Warp warp;
    return warp;
  }

  // Runs body in each thread from first on, up to a whole warp or the end of the block.
  void run(unsigned first, unsigned end, const std::function<void()>& body) {
    body_ = &body;
    count_ = std::min(end - first, warp_size);
    for (unsigned lane = 0; lane < count_; ++lane) {
      const unsigned thread = first + lane;
      Lane& own = lanes_[lane];
      own.index = {
          thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
      own.is_done = false;
      own.stack.resize(stack_size);
      getcontext(&own.context);
      own.context.uc_stack.ss_sp = own.stack.data();
      own.context.uc_stack.ss_size = stack_size;
      own.context.uc_link = &scheduler_;
      makecontext(&own.context, enter, 0);
    }
    for (bool is_done = false; !is_done; ++shuffles_) {
      for (current_ = 0; current_ < count_; ++current_) {
        threadIdx = lanes_[current_].index;
        swapcontext(&scheduler_, &lanes_[current_].context);
      }
      is_done = lanes_[0].is_done;
      for (unsigned lane = 0; lane < count_; ++lane) {
        require(lanes_[lane].is_done == is_done, "only a part of this warp has reached a shuffle");
      }
    }
  }

  // The value of the thread that is distance further, or the own one at the end of the part of the warp.
  template <typename T>
  T shuffle_down(T value, unsigned distance, unsigned width) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    require(width > 0 && width <= warp_size && (width & (width - 1)) == 0, "a width is no power of two");
    const unsigned lane = current_;
    // Two sets of values, because a thread may write its next one before its neighbor has read this one.
    std::memcpy(&lanes_[lane].values[shuffles_ % 2], &value, sizeof(T));
    const uint64_t shuffle = shuffles_;
    swapcontext(&lanes_[lane].context, &scheduler_);
    const unsigned source = lane % width + distance < width ? lane + distance : lane;
    require(source < count_, "a shuffle reads a thread that is beyond the block");
    T result;
    std::memcpy(&result, &lanes_[source].values[shuffle % 2], sizeof(T));
    return result;
  }

 private:
  struct Lane {
    ucontext_t context;
    std::vector<char> stack;
    dim3 index;
    bool is_done;
    uint64_t values[2];
  };

  static void enter() {
    Warp& warp = instance();
    (*warp.body_)();
    warp.lanes_[warp.current_].is_done = true;
  }

  Lane lanes_[warp_size];
  ucontext_t scheduler_;
  const std::function<void()>* body_ = nullptr;
  unsigned count_ = 0, current_ = 0;
  uint64_t shuffles_ = 0;
};

// A launch with its arguments: kernel | Call(...) runs it.
template <typename... Args>
struct Call {
  dim3 grid, block;
  std::tuple<Args...> arguments;
};

struct Configuration {
  dim3 grid, block;

  template <typename... Args>
  Call<Args...> operator()(const Args&... arguments) const {
    return {grid, block, {arguments...}};
  }
};

inline Configuration configure(dim3 grid, dim3 block, size_t shared_memory, int stream) {
  require(shared_memory == 0, "shared memory is not emulated");
  require(grid.volume() > 0 && grid.x < (1u << 31) && grid.y < (1u << 16) && grid.z < (1u << 16), "bad grid");
  require(block.volume() > 0 && block.volume() <= 1024 && block.z <= 64, "bad block");
  return {grid, block};
}

template <typename... Parameters, typename... Args>
void operator|(void (*kernel)(Parameters...), const Call<Args...>& call) {
  gridDim = call.grid;
  blockDim = call.block;
  // Each thread gets a copy of the arguments, as they are passed by value.
  const std::function<void()> body = [&] { std::apply(kernel, call.arguments); };
  const unsigned threads = call.block.volume();
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
        for (unsigned first = 0; first < threads; first += warp_size) {
          Warp::instance().run(first, threads, body);
        }
      }
    }
  }
}

} // namespace cuda_emulation

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = cuda_emulation::warp_size) {
  cuda_emulation::require(mask == 0xffffffff, "only shuffles of whole warps are emulated");
  return cuda_emulation::Warp::instance().shuffle_down(value, distance, width);
}

template <typename T>
T atomicAdd(T* target, T value) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  const T before = *target;
  *target += value;
  return before;
}

inline float4 atomicAdd(float4* target, float4 value) {
  const float4 before = *target;
  *target = {before.x + value.x, before.y + value.y, before.z + value.z, before.w + value.w};
  return before;
}
