"""The devices, data types and tolerances of the tests of all operators."""

import pytest
import torch


def cuda_is_missing() -> str:
    """The reason why the CUDA kernels cannot be tested, or an empty string."""
    if not torch.cuda.is_available():
        return "no GPU"
    if not torch._C._dispatch_has_kernel_for_dispatch_key("posecore::keypoint_sample", "CUDA"):
        return "the operators were compiled for the CPU alone"
    return ""


needs_cuda = pytest.mark.skipif(bool(cuda_is_missing()), reason=cuda_is_missing())
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]
TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# Largest difference between a result of this type and the exact result, for numbers near 1.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def assert_all_close(actual, expected, dtype):
    """Compares tensors at the tolerance of a type, relative to their largest values."""
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        size = other.abs().max().item() if other.numel() else 0
        torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1, size))
