#pragma once

#include <ATen/core/Tensor.h>

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace posecore {

// Asks the system for huge pages for a large new tensor. It must be called before the tensor is first
// written.
//
// Large tensors get new memory from the system each time, and the first write to each page faults. With pages
// of 4 KiB these faults take longer than sampling. The request is only a hint, so its failure is ignored.
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
