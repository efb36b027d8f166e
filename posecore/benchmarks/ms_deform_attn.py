"""Times ms_deform_attn beside a composition of grid_sample calls, as Deformable DETR has published one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posecore.benchmarks.timing import PASSES, ImageBatch, take_turns
from posecore.layers.deform_attention import EMSDeformAttention, MSDeformAttention
from posecore.ops import ms_deform_attn
from posecore.structures.skeleton import load_skeleton

HEADS, POINTS, CHANNELS = 8, 4, 256
# Standard deviation, in cells of each level, of the points around their reference points.
SPREAD = 2.0
# Crops of persons as Poseur reads them, with 17 queries and, in training, three noisy groups of them.
CROP, CROPS, QUERIES = (256, 192), 4, 68


@dataclass(frozen=True)
class Example:
    """Inputs of the operator: N images, R cells on L levels, G groups, Q queries, H heads, P points."""

    value: Tensor  # (N, R, G, C)
    shapes: list[tuple[int, int]]
    locations: Tensor  # (N, Q, H, L, P, 2)
    weights: Tensor  # (N, Q, H, L, P)


@dataclass(frozen=True)
class Case:
    """A use of the operator.

    Attributes:
        name: in the table.
        num_images: N.
        shapes: (height, width) of each level.
        groups: G of the values; 1 where all heads share them.
        references: (N, Q, 2), from 0 to 1.
    """

    name: str
    num_images: int
    shapes: list[tuple[int, int]]
    groups: int
    references: Tensor

    def make(self, dtype: torch.dtype, device: str) -> Example:
        """Random inputs, the points spread around the reference points."""
        cells = sum(height * width for height, width in self.shapes)
        value = torch.randn(
            self.num_images, cells, self.groups, CHANNELS // (HEADS if self.groups > 1 else 1)
        )
        sides = torch.tensor([(width, height) for height, width in self.shapes])[:, None]
        places = (*self.references.shape[:2], HEADS, len(self.shapes), POINTS)
        locations = self.references[:, :, None, None, None] + SPREAD * torch.randn(*places, 2) / sides
        weights = torch.randn(places).flatten(3).softmax(dim=-1).view(places)
        return Example(value.to(device, dtype), self.shapes, locations.to(device), weights.to(device))


def pyramid(size: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(height, width) of the levels of an image of that size."""
    return [(-(-size[0] // stride), -(-size[1] // stride)) for stride in strides]


def centers(shapes: Sequence[tuple[int, int]]) -> Tensor:
    """The center of every cell of every level, (R, 2) from 0 to 1."""
    levels = []
    for height, width in shapes:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        levels.append((torch.stack([x, y], dim=-1).view(-1, 2) + 0.5) / torch.tensor([width, height]))
    return torch.cat(levels)


def cases(batch: ImageBatch) -> list[Case]:
    """The uses: the encoder of Deformable DETR on the batch, and the decoder of Poseur on crops."""
    encoder, decoder = pyramid(batch.size, (8, 16, 32, 64)), pyramid(CROP, (4, 8, 16, 32))
    cells = centers(encoder).expand(batch.num_images, -1, -1)
    joints = torch.rand(CROPS, QUERIES, 2)
    return [
        Case("encoder of Deformable DETR, a query for every cell", batch.num_images, encoder, HEADS, cells),
        Case(f"decoder of Poseur, {QUERIES} queries on each of {CROPS} crops", CROPS, decoder, 1, joints),
    ]


def by_grid_sample(
    shapes: Sequence[tuple[int, int]], value: Tensor, locations: Tensor, weights: Tensor
) -> Tensor:
    """The operator in plain torch, (N, Q, H, C); values are repeated where heads share them."""
    num_images, queries, heads = locations.shape[:3]
    value = value.expand(-1, -1, heads, -1)
    grids = (2 * locations - 1).to(value.dtype)
    levels = value.split([height * width for height, width in shapes], dim=1)
    read = []
    for level, (cells, shape) in enumerate(zip(levels, shapes, strict=True)):
        maps = cells.flatten(2).transpose(1, 2).reshape(num_images * heads, -1, *shape)
        grid = grids[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (N * H, Q, P, 2)
        read.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    shares = weights.to(value.dtype).transpose(1, 2).reshape(num_images * heads, 1, queries, -1)
    result = (torch.stack(read, dim=-2).flatten(-2) * shares).sum(dim=-1)  # (N * H, C, Q)
    return result.unflatten(0, (num_images, heads)).permute(0, 3, 1, 2)


def ours(shapes: Sequence[tuple[int, int]], value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The operator, with its arguments in the order of :func:`by_grid_sample`."""
    return ms_deform_attn(value, shapes, locations, weights)


def least_traffic(data: Example, kind: str) -> int:
    """Bytes that must move in a pass, one of :data:`PASSES`: inputs and result, with gradients twice."""
    points = data.locations.nbytes + data.weights.nbytes
    result = data.locations.shape[:3].numel() * data.value.shape[3] * data.value.element_size()
    once = data.value.nbytes + points + result
    return once if kind == "forward" else 2 * once + data.value.nbytes + points


def compare(case: Case, dtype: torch.dtype, device: str, bandwidth: float | None, rounds: int) -> None:
    """Prints a table: milliseconds, and how many times as fast as the composition.

    Args:
        case: the use.
        dtype: of the values.
        device: "cpu" or "cuda".
        bandwidth: bytes per second of a copy, to compare with; None on the CPU.
        rounds: runs of each candidate.
    """
    print(f"\n{case.name}: {case.groups} groups of values, {dtype}")
    print(f"{'':22}{'grid_sample':>12}{'ours':>12}{'':>10}")
    data = case.make(dtype, device)
    inputs = data.value, data.locations, data.weights
    for kind, run_as in PASSES.items():
        candidates = {
            "grid_sample": run_as(partial(by_grid_sample, data.shapes), *inputs),
            "ours": run_as(partial(ours, data.shapes), *inputs),
        }
        theirs, own = take_turns(candidates, rounds, device).values()
        line = f"{kind:22}{theirs:12.3f}{own:12.3f}{f'({theirs / own:.2f}x)':>10}"
        if bandwidth is not None:
            speed = least_traffic(data, kind) / own * 1e3
            line += f"   {speed / 1e9:.0f} GB/s, {speed / bandwidth:.0%} of a copy"
        print(line)


@torch.no_grad()
def compare_layers(device: str, rounds: int) -> None:
    """Prints milliseconds of MSDA and EMSDA layers, which project values before or after the reads."""
    queries = load_skeleton("coco_17").num_keypoints
    print(f"\na layer on {CROPS} crops with {queries} queries each, forward: MSDA projects first, EMSDA last")
    print(f"{'crops of':12}{'MSDA':>12}{'EMSDA':>12}")
    query = torch.randn(CROPS, queries, CHANNELS, device=device)
    references = torch.rand(CROPS, queries, 1, 2, device=device)
    for size in (CROP, tuple(2 * side for side in CROP)):
        shapes = pyramid(size, (4, 8, 16, 32))
        cells = sum(height * width for height, width in shapes)
        memory = torch.randn(CROPS, cells, CHANNELS, device=device)
        layers: dict[str, nn.Module] = {
            "MSDA": MSDeformAttention(CHANNELS),
            "EMSDA": EMSDeformAttention(CHANNELS),
        }
        candidates = {
            name: partial(layer.to(device), query, references, memory, shapes)
            for name, layer in layers.items()
        }
        times = take_turns(candidates, rounds, device)
        print(f"{f'{size[0]} x {size[1]}':12}{times['MSDA']:12.3f}{times['EMSDA']:12.3f}")


def print_tables(batch: ImageBatch, dtypes: list[torch.dtype], bandwidth: float | None, rounds: int) -> None:
    """Prints a table for each use and type (:func:`compare`), and one of both kinds of layers."""
    print(f"\nms_deform_attn; points lie {SPREAD} cells (sigma) around reference points")
    for dtype in dtypes:
        for case in cases(batch):
            compare(case, dtype, batch.device, bandwidth, rounds)
    compare_layers(batch.device, rounds)
