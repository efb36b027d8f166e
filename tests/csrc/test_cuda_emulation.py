"""The CUDA kernels without a GPU: compiled for the CPU, they pass the tests of operators; errors are caught.

The first run compiles, which takes a minute or two; pytest's cache keeps the libraries.
"""

import os
import subprocess
import sys

import pytest
from helpers import cuda_emulation

pytestmark = pytest.mark.long

KERNELS = sorted(cuda_emulation.CSRC.glob("cuda/*.cu"))
# The tests of results and gradients; the others are about the registration with torch, or take long here.
CHOSEN = [
    "equals_the_reference",
    "equals_grid_sample",
    "reads_between",
    "reads_levels",
    "its_own",
    "heads_read",
    "beyond_every_map",
    "cells_around",
    "run_into_each_other",
    "least_sizes",
    "any_layout",
    "expanded",
    "in_single",
    "has_its_memory_format",
    "does_not_fit",
]


@pytest.fixture(scope="module")
def folder(request):
    """Where compiled libraries are kept from one run to the next."""
    if reason := cuda_emulation.why_not():
        pytest.skip(reason)
    return request.config.cache.mkdir("cuda_emulation")


def run_tests(root, libraries, *arguments):
    """Runs tests of operators with these libraries in place of the kernels for the CPU."""
    environment = cuda_emulation.environment() | {
        "POSECORE_CUDA_EMULATION": os.pathsep.join(map(str, libraries)),
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")]),
        "OMP_NUM_THREADS": "1",
    }
    # Not captured, because a report of the sanitizer comes just before the process ends.
    options = ["-q", "-s", "-p", "helpers.cuda_emulation.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )


def test_the_kernels_pass_the_tests_of_operators(root, folder):
    libraries = [cuda_emulation.build(source, folder) for source in KERNELS]
    chosen = f"({' or '.join(CHOSEN)}) and not every_cell_is_read and not cuda"
    done = run_tests(root, libraries, "tests/posecore/ops", "-k", chosen)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "passed" in done.stdout


def test_catches_an_index_that_is_off_by_one(root, folder):
    (source,) = (path for path in KERNELS if path.stem == "keypoint_sample")

    def one_row_too_many(text):
        # Without half precision it compiles in less time.
        text = text.replace(
            "AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, ", "AT_DISPATCH_FLOATING_TYPES("
        )
        assert text.count("place.row < points.rows") == 1
        return text.replace("place.row < points.rows", "place.row <= points.rows")

    library = cuda_emulation.build(source, folder, one_row_too_many)
    done = run_tests(root, [library], "tests/posecore/ops/test_keypoint_sample.py", "-k", "test_gradcheck")
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    assert "keypoint_sample.cu" in done.stderr
