"""keypoint_sample beside torch's grid_sample, on the shapes that DirectPose has."""

import argparse
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import KINDS, take_turns
from posecore.ops import keypoint_sample

STRIDES = (8, 16, 32, 64, 128)
# Standard deviation, in cells, of the points around their locations.
SPREAD = 2.0


@dataclass(frozen=True)
class Case:
    """A use of the operator. With ``candidates`` no more locations of a level than these have rows."""

    name: str
    groups: int
    group_channels: int
    candidates: int | None = None


CASES = (
    Case("KPAlign at every location", groups=9, group_channels=64),
    Case("KPAlign at 100 candidates of each level", groups=9, group_channels=64, candidates=100),
    Case("KPAlign on maps already projected", groups=17, group_channels=2),
)


@dataclass(frozen=True)
class Example:
    """Maps, and the same points as each of the two operators takes them."""

    value: Tensor  # (N, G*c, H, W), contiguous
    points: Tensor  # (Q, G, 2), in cells
    images: Tensor  # (Q,)
    grid: Tensor  # (N*G, 1, Q/N, 2), from -1 to 1


def make_example(case: Case, stride: int, dtype: torch.dtype, args: argparse.Namespace) -> Example:
    """A level of the pyramid that samples the next finer one; the finest samples itself."""
    source = max(stride // 2, STRIDES[0])
    rows, columns = (-(-side // stride) for side in args.size)
    height, width = (-(-side // source) for side in args.size)
    value = torch.randn(args.num_images, case.groups * case.group_channels, height, width)

    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    locations = (torch.stack([x, y], dim=-1).view(-1, 2) + 0.5) * (stride // source)
    locations = locations[torch.randperm(len(locations))[: case.candidates]] if case.candidates else locations
    points = locations[:, None] + SPREAD * torch.randn(args.num_images, len(locations), case.groups, 2)
    images = torch.arange(args.num_images).repeat_interleave(len(locations))
    grid = (2 * points / torch.tensor([width, height]) - 1).transpose(1, 2).flatten(0, 1).unsqueeze(1)
    return Example(
        value.to(args.device, dtype),
        points.flatten(0, 1).to(args.device),
        images.to(args.device),
        grid.contiguous().to(args.device, dtype),
    )


def by_grid_sample(value: Tensor, grid: Tensor) -> Tensor:
    """The same reads as (N*G, c, 1, Q/N), each group being an image of its own."""
    maps = value.view(len(grid), -1, *value.shape[2:])
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def least_traffic(data: Example, kind: str) -> int:
    """Bytes that have to move."""
    result = len(data.points) * data.value.shape[1] * data.value.element_size()
    once = min(data.value.nbytes, 4 * result) + data.points.nbytes + data.images.nbytes + result
    return once if kind == "forward" else 2 * once + data.value.nbytes + data.points.nbytes


def compare(case: Case, kind: str, dtype: torch.dtype, peak: float | None, args: argparse.Namespace) -> None:
    """Prints a table: milliseconds on each level and in all, and how many times as fast as grid_sample."""
    print(f"\n{case.name}, {kind}: {case.groups} groups of {case.group_channels} channels, {dtype}")
    print(f"{'level':6}{'rows':>8}{'grid_sample':>16}{'ours, channels_last':>26}{'ours, contiguous':>26}")
    sums, traffic = torch.zeros(3), 0
    for stride in STRIDES:
        data = make_example(case, stride, dtype, args)
        last = data.value.contiguous(memory_format=torch.channels_last)
        candidates = {
            "grid_sample": KINDS[kind](by_grid_sample, data.value, data.grid),
            "channels_last": KINDS[kind](keypoint_sample, last, data.points, data.images),
            "contiguous": KINDS[kind](keypoint_sample, data.value, data.points, data.images),
        }
        times = torch.tensor(list(take_turns(candidates, args.rounds, args.device).values()))
        sums, traffic = sums + times, traffic + least_traffic(data, kind)
        print(f"1/{stride:<4}{len(data.points):8}{_figures(times)}")
    print(f"{'all':14}{_figures(sums)}")
    if peak is not None:
        share = traffic / sums[1].item() * 1e3 / peak
        print(f"channels_last moves {traffic / 1e6:.0f} MB at {share:.0%} of the bandwidth of a copy")


def _figures(times: Tensor) -> str:
    theirs, last, contiguous = times.tolist()
    columns = (f"{ours:.3f} ({theirs / ours:.2f}x)" for ours in (last, contiguous))
    return f"{theirs:16.3f}" + "".join(f"{column:>26}" for column in columns)


def run(dtypes: list[torch.dtype], peak: float | None, args: argparse.Namespace) -> None:
    """Prints a table for each use, type and kind of run."""
    print(f"\nkeypoint_sample; points lie {SPREAD} cells (sigma) around locations")
    for dtype in dtypes:
        for case in CASES:
            for kind in KINDS:
                compare(case, kind, dtype, peak, args)
