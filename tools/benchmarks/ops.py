"""Our operators beside what torch has for the same."""

import argparse

import torch

from benchmarks import keypoint_sample, ms_deform_attn
from benchmarks.timing import copy_bandwidth, describe_machine


def run(args: argparse.Namespace) -> None:
    """Prints the tables of both operators."""
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    print(f"{describe_machine(args.device)}; batches of {args.num_images} x {args.size[0]} x {args.size[1]}")
    print(f"milliseconds, medians of {args.rounds} rounds")
    peak, dtypes = None, [torch.float32]
    if args.device == "cuda":
        peak, dtypes = copy_bandwidth(args.rounds), [torch.float32, torch.bfloat16]
        print(f"copying 1 GiB: {peak / 1e9:.0f} GB/s")
    keypoint_sample.run(dtypes, peak, args)
    ms_deform_attn.run(dtypes, peak, args)
