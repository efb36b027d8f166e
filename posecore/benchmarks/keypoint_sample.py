"""Times keypoint_sample beside torch's grid_sample on the shapes of DirectPose (:func:`print_tables`)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from posecore.benchmarks.timing import PASSES, ImageBatch, take_turns
from posecore.ops import keypoint_sample
from posecore.structures.skeleton import load_skeleton

STRIDES = (8, 16, 32, 64, 128)
# Standard deviation, in cells, of the points around their locations.
SPREAD = 2.0
# The skeleton of the paper's models.
SKELETON = load_skeleton("coco_17")


@dataclass(frozen=True)
class Case:
    """A use of the operator.

    Attributes:
        name: in the table.
        groups: G, points per location.
        group_channels: c, channels that each point reads.
        candidates: locations per level that have points; None for all.
    """

    name: str
    groups: int
    group_channels: int
    candidates: int | None = None


CASES = (
    Case("KPAlign at every location", groups=len(SKELETON.groups), group_channels=64),
    Case(
        "KPAlign at 100 candidates of each level",
        groups=len(SKELETON.groups),
        group_channels=64,
        candidates=100,
    ),
    Case("KPAlign on maps already projected", groups=SKELETON.num_keypoints, group_channels=2),
)


@dataclass(frozen=True)
class Example:
    """Maps, and the same points as each of the two operators takes them; N images, Q rows of points."""

    value: Tensor  # (N, G*c, H, W), contiguous
    points: Tensor  # (Q, G, 2), in cells
    images: Tensor  # (Q,)
    grid: Tensor  # (N*G, 1, Q/N, 2), from -1 to 1


def make_example(case: Case, stride: int, dtype: torch.dtype, batch: ImageBatch) -> Example:
    """Random inputs of the level with that stride, which samples the next finer one; the finest itself."""
    source = max(stride // 2, STRIDES[0])
    rows, columns = (-(-side // stride) for side in batch.size)
    height, width = (-(-side // source) for side in batch.size)
    value = torch.randn(batch.num_images, case.groups * case.group_channels, height, width)

    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    locations = (torch.stack([x, y], dim=-1).view(-1, 2) + 0.5) * (stride // source)
    locations = locations[torch.randperm(len(locations))[: case.candidates]] if case.candidates else locations
    points = locations[:, None] + SPREAD * torch.randn(batch.num_images, len(locations), case.groups, 2)
    images = torch.arange(batch.num_images).repeat_interleave(len(locations))
    grid = (2 * points / torch.tensor([width, height]) - 1).transpose(1, 2).flatten(0, 1).unsqueeze(1)
    return Example(
        value.to(batch.device, dtype),
        points.flatten(0, 1).to(batch.device),
        images.to(batch.device),
        grid.contiguous().to(batch.device, dtype),
    )


def by_grid_sample(value: Tensor, grid: Tensor) -> Tensor:
    """The same reads as (N*G, c, 1, Q/N), each group being an image of its own."""
    maps = value.view(len(grid), -1, *value.shape[2:])
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def least_traffic(data: Example, kind: str) -> int:
    """Bytes that must move in a pass, one of :data:`PASSES`."""
    result = len(data.points) * data.value.shape[1] * data.value.element_size()
    once = min(data.value.nbytes, 4 * result) + data.points.nbytes + data.images.nbytes + result
    return once if kind == "forward" else 2 * once + data.value.nbytes + data.points.nbytes


def compare(
    case: Case, kind: str, dtype: torch.dtype, batch: ImageBatch, bandwidth: float | None, rounds: int
) -> None:
    """Prints a table: milliseconds on each level and in all, and how many times as fast as grid_sample.

    Args:
        case: the use.
        kind: one of :data:`PASSES`.
        dtype: of the maps.
        batch: the images.
        bandwidth: bytes per second of a copy, to compare with; None on the CPU.
        rounds: runs of each candidate.
    """
    print(f"\n{case.name}, {kind}: {case.groups} groups of {case.group_channels} channels, {dtype}")
    print(f"{'level':6}{'rows':>8}{'grid_sample':>16}{'ours, channels_last':>26}{'ours, contiguous':>26}")
    sums, traffic = torch.zeros(3), 0
    for stride in STRIDES:
        data = make_example(case, stride, dtype, batch)
        last = data.value.contiguous(memory_format=torch.channels_last)
        candidates = {
            "grid_sample": PASSES[kind](by_grid_sample, data.value, data.grid),
            "channels_last": PASSES[kind](keypoint_sample, last, data.points, data.images),
            "contiguous": PASSES[kind](keypoint_sample, data.value, data.points, data.images),
        }
        times = torch.tensor(list(take_turns(candidates, rounds, batch.device).values()))
        sums, traffic = sums + times, traffic + least_traffic(data, kind)
        print(f"1/{stride:<4}{len(data.points):8}{_figures(times)}")
    print(f"{'all':14}{_figures(sums)}")
    if bandwidth is not None:
        share = traffic / sums[1].item() * 1e3 / bandwidth
        print(f"channels_last moves {traffic / 1e6:.0f} MB at {share:.0%} of the bandwidth of a copy")


def _figures(times: Tensor) -> str:
    theirs, last, contiguous = times.tolist()
    columns = (f"{ours:.3f} ({theirs / ours:.2f}x)" for ours in (last, contiguous))
    return f"{theirs:16.3f}" + "".join(f"{column:>26}" for column in columns)


def print_tables(batch: ImageBatch, dtypes: list[torch.dtype], bandwidth: float | None, rounds: int) -> None:
    """Prints a table for each use, type and pass; see :func:`compare`."""
    print(f"\nkeypoint_sample; points lie {SPREAD} cells (sigma) around locations")
    for dtype in dtypes:
        for case in CASES:
            for kind in PASSES:
                compare(case, kind, dtype, batch, bandwidth, rounds)
