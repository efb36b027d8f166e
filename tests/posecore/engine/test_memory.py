"""What a process does with the memory that it frees."""

import sys

import pytest
from helpers.processes import run_python

# Prints the fewest page faults of rounds that allocate, fill and free two tensors of 48 MiB; it takes rounds
# until the heap has room for both. What has up to 32 MiB, glibc begins to keep by itself.
PROGRAM = """
import resource
import sys
import torch
from posecore.engine.memory import keep_freed_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(12 * 2**20) for _ in range(2)]
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
kept = sys.argv[1] == "keep" and keep_freed_memory("cpu")
print(kept, min(page_faults() for _ in range(20)))
"""
PAGES = 96 * 2**20 // 4096


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator can be asked to keep memory")
@pytest.mark.parametrize(("word", "kept"), [("keep", "True"), ("return", "False")])
def test_freed_memory_is_used_again_without_page_faults(word: str, kept: str) -> None:
    answer, faults = run_python(["-c", PROGRAM, word]).stdout.split()
    assert answer == kept
    # Huge pages make one fault of 512, where the system has them.
    assert (int(faults) < PAGES / 2000) == (word == "keep")
