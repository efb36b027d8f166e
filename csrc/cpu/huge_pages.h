#pragma once

#include <ATen/core/Tensor.h>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace posecore {

// Asks for huge pages behind a large new tensor; to be called before it is written for the first time.
//
// Large tensors get fresh memory from the system each time, and their first writes fault once per page: with
// pages of 4 KiB that takes longer than sampling. No more than a hint, so a refusal changes nothing.
inline const at::Tensor& with_huge_pages(const at::Tensor& tensor) {
#ifdef __linux__
  constexpr size_t large = 8 << 20;
  if (tensor.nbytes() >= large) {
    const size_t page = sysconf(_SC_PAGESIZE);
    const size_t begin = (reinterpret_cast<size_t>(tensor.data_ptr()) + page - 1) / page * page;
    const size_t end = (reinterpret_cast<size_t>(tensor.data_ptr()) + tensor.nbytes()) / page * page;
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
#endif
  return tensor;
}

} // namespace posecore
