"""A pytest plugin that replaces the operators' kernels for the CPU by libraries of the CUDA kernels.

POSECORE_CUDA_EMULATION names the libraries, separated by colons (:func:`helpers.cuda_emulation.build`). With
``-p helpers.cuda_emulation.plugin``, in a process with the variables of
:func:`helpers.cuda_emulation.environment`, the tests of operators test the CUDA kernels.
"""

import os

import torch

import posecore.ops  # noqa: F401  (before the libraries, whose kernels replace those of the CPU)


def pytest_configure() -> None:
    for library in os.environ["POSECORE_CUDA_EMULATION"].split(os.pathsep):
        torch.ops.load_library(library)
