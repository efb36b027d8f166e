"""Times the operators of :mod:`posecore.ops` beside what torch has for the same (:func:`time_operators`)."""

import torch

from posecore.benchmarks import keypoint_sample, ms_deform_attn
from posecore.benchmarks.timing import ImageBatch, copy_bandwidth, describe_machine


def time_operators(batch: ImageBatch, *, rounds: int, threads: int) -> None:
    """Prints the tables of both operators; on a GPU in float32 and bfloat16, beside the speed of a copy.

    Args:
        batch: the images.
        rounds: runs of each candidate.
        threads: on the CPU.
    """
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    height, width = batch.size
    print(f"{describe_machine(batch.device)}; batches of {batch.num_images} x {height} x {width}")
    print(f"milliseconds, medians of {rounds} rounds")
    bandwidth, dtypes = None, [torch.float32]
    if batch.device == "cuda":
        bandwidth, dtypes = copy_bandwidth(rounds), [torch.float32, torch.bfloat16]
        print(f"copying 1 GiB: {bandwidth / 1e9:.0f} GB/s")
    keypoint_sample.print_tables(batch, dtypes, bandwidth, rounds)
    ms_deform_attn.print_tables(batch, dtypes, bandwidth, rounds)
