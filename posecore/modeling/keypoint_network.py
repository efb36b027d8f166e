"""Keypoint networks whose weights are generated for every person: :class:`KeypointNetworks`.

A network turns the map that all networks of an image read into the heatmaps of its person. FCPose (arXiv
2105.14185) calls the networks dynamic keypoint heads, InsPose (arXiv 2107.08982) calls them KP-Nets.

Letters: N images, C channels, Q locations at which networks are generated, K keypoints, H and W the size of
the map that all networks of an image read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from posecore.layers.dynamic_conv import DynamicConv
from posecore.layers.precision import full_precision
from posecore.layers.tower import init_conv
from posecore.modeling.fcos.locations import Locations, SelectedLocations, make_locations
from posecore.structures.heatmaps import cell_cross_entropy

# Number of networks whose heatmaps exist at the same time: for losses, and for peaks, where so few heatmaps
# stay in the cache of the processor.
LOSS_BLOCK, PEAK_BLOCK = 16, 4


@dataclass(frozen=True)
class GeneratedNetworks:
    """The weights of Q generated networks.

    Attributes:
        parameters: (Q, number of parameters of a network).
        points: (Q, 2) locations at which they were generated, in pixels.
        ranges: (Q,) number of pixels in one unit of the relative coordinates.
    """

    parameters: Tensor
    points: Tensor
    ranges: Tensor

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, rows: Tensor | slice) -> "GeneratedNetworks":
        return GeneratedNetworks(self.parameters[rows], self.points[rows], self.ranges[rows])


@dataclass(frozen=True)
class PeakCells:
    """The cells of the peaks (maxima) of heatmaps.

    Attributes:
        cells: (Q, K) int64 cell, row * W + column.
        width: W of the heatmaps.
    """

    cells: Tensor
    width: int


@dataclass(frozen=True)
class Peaks(PeakCells):
    """The peaks of heatmaps: their cells and values.

    Attributes:
        logits: (Q, K) logit of the cell.
        probability: (Q, K) probability of the cell, by the softmax over all cells.
    """

    logits: Tensor
    probability: Tensor


class KeypointNetworks(nn.Module):
    """Generates networks, and applies them to the shared map and relative coordinates.

    Args:
        channels: channels of the tower from which networks are generated.
        widths: channels of the shared map, of the hidden layers of a network, and of its output (K).
        kernel_size: kernel size of the controller, the convolution that generates networks.
        ranges: number of pixels in one unit of the relative coordinates, per level. They are saved with the
            weights, which are trained for them.
        stride: pixels per cell of the shared map.
        resize: resizes (Q, K, H, W) heatmaps, in the same way for all persons; None for no resizing.
        heatmap_stride: pixels per cell of the resized heatmaps; None for ``stride``.
    """

    ranges: Tensor

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        *,
        kernel_size: int,
        ranges: Sequence[float],
        stride: int,
        resize: nn.Module | None = None,
        heatmap_stride: int | None = None,
    ) -> None:
        super().__init__()
        shared, *others = widths
        self.layers = DynamicConv((2 + shared, *others))
        self.stride, self.heatmap_stride = stride, heatmap_stride or stride
        self.controller = init_conv(
            nn.Conv2d(channels, self.layers.num_parameters, kernel_size, padding=kernel_size // 2)
        )
        self.resize = resize or nn.Identity()
        self.register_buffer("ranges", torch.tensor(ranges, dtype=torch.float32))

    def generate(
        self, tower_maps: list[Tensor], locations: Locations, selected: SelectedLocations
    ) -> GeneratedNetworks:
        """Generates the networks of the selected locations; the controller is computed only at these.

        Args:
            tower_maps: one (N, C, H_l, W_l) map per level.
            locations: the R locations of these levels.
            selected: Q of the N * R locations.
        """
        patches = gather_patches(tower_maps, locations, selected, self.controller.kernel_size[0])
        weight, bias = self.controller.weight, self.controller.bias
        with torch.autocast(patches.device.type, enabled=False):
            parameters = F.linear(full_precision(patches).flatten(1), weight.flatten(1), bias)
        return GeneratedNetworks(
            parameters, locations.points[selected.index], self.ranges[locations.levels[selected.index]]
        )

    def forward(self, shared: Tensor, networks: GeneratedNetworks) -> Tensor:
        """Applies Q networks to the shared map of their image, in full precision also under autocast.

        Args:
            shared: (C, H, W).
            networks: the Q networks.

        Returns:
            (Q, K, H', W') heatmaps, as logits.
        """
        shared = full_precision(shared)
        relative = self.relative_coordinates(networks, (shared.shape[1], shared.shape[2]))
        with torch.autocast(shared.device.type, enabled=False):
            return self.resize(self.layers(relative.to(shared.dtype), shared, networks.parameters))

    def relative_coordinates(self, networks: GeneratedNetworks, size: tuple[int, int]) -> Tensor:
        """(Q, 2, H, W) x and y of the network's location minus those of the cell, in units of ``ranges``."""
        cells = make_locations([size], [self.stride], networks.points.device).points
        relative = (networks.points[:, :, None] - cells.T) / networks.ranges[:, None, None]
        return relative.unflatten(2, size)

    def cross_entropy(
        self, shared: Tensor, networks: GeneratedNetworks, keypoints: Tensor, block: int = LOSS_BLOCK
    ) -> Tensor:
        """The losses of Q networks on the shared map of their image, computed in blocks to save memory.

        Only the heatmaps of one block exist at a time. They are computed again in the backward pass, so any
        number of positive locations can be trained.

        Args:
            shared: (C, H, W).
            networks: the Q networks.
            keypoints: (Q, K, 3) in pixels, finite.
            block: number of networks whose heatmaps exist at the same time.

        Returns:
            (Q, K), see :func:`posecore.structures.heatmaps.cell_cross_entropy`.
        """

        def block_losses(shared: Tensor, rows: slice) -> Tensor:
            return cell_cross_entropy(self(shared, networks[rows]), keypoints[rows], self.heatmap_stride)

        losses = [
            checkpoint(block_losses, shared, rows, use_reentrant=False, preserve_rng_state=False)
            for rows in _blocks(len(networks), block)
        ]
        return torch.cat(losses)

    def peaks(self, shared: Tensor, networks: GeneratedNetworks, block: int = PEAK_BLOCK) -> Peaks:
        """The peaks of the heatmaps of Q networks on the shared map of their image.

        Args:
            shared: (C, H, W).
            networks: the Q networks.
            block: number of networks whose heatmaps exist at the same time.
        """
        results = []
        for rows in _blocks(len(networks), block):
            own = find_peaks(self(shared, networks[rows]))
            results.append((own.cells, own.logits, own.probability))
        cells, best, probability = (torch.cat(values) for values in zip(*results, strict=True))
        return Peaks(cells, own.width, best, probability)

    def peak_cells(
        self,
        shared: Tensor,
        networks: GeneratedNetworks,
        block: int = PEAK_BLOCK,
        enlarge: Callable[[Tensor], Tensor] | None = None,
    ) -> PeakCells:
        """The cells of the peaks alone, which take less time than :meth:`peaks`.

        Args:
            shared: (C, H, W).
            networks: the Q networks.
            block: number of networks whose heatmaps exist at the same time.
            enlarge: enlarges the heatmaps before their peaks are found; None for no enlargement. It has no
                part in training.
        """
        enlarge = enlarge or nn.Identity()
        cells = []
        for rows in _blocks(len(networks), block):
            maps = enlarge(self(shared, networks[rows]))
            cells.append(maps.flatten(2).max(dim=2).indices)  # three times as fast as argmax
        return PeakCells(torch.cat(cells), maps.shape[3])


def find_peaks(heatmaps: Tensor) -> Peaks:
    """The peaks of (Q, K, H, W) heatmaps, which are logits."""
    logits = heatmaps.flatten(2)
    best, cells = logits.max(dim=2)
    return Peaks(cells, heatmaps.shape[3], best, 1 / (logits - best[..., None]).exp().sum(dim=2))


def _blocks(count: int, block: int) -> list[slice]:
    """Slices of length ``block`` that cover ``count`` rows; one empty slice if there are no rows."""
    return [slice(start, start + block) for start in range(0, max(count, 1), block)]


def gather_patches(
    tower_maps: list[Tensor], locations: Locations, selected: SelectedLocations, size: int
) -> Tensor:
    """The patches that a convolution reads at the selected locations; they are zero beyond the maps.

    Args:
        tower_maps: one (N, C, H_l, W_l) map per level.
        locations: the R locations of these levels.
        selected: Q of the N * R locations.
        size: kernel size of the convolution, odd.

    Returns:
        (Q, C, size, size).
    """
    margin = size // 2
    padded = [F.pad(tower_map, [margin] * 4) for tower_map in tower_maps]
    # Of each location, the cell at the upper left of its patch among the padded cells of all levels, and the
    # number of cells from one row to the next.
    corners, pitches, start = [], [], 0
    for tower_map, (height, width) in zip(padded, locations.sizes, strict=True):
        pitch = tower_map.shape[3]
        rows = torch.arange(height, device=tower_map.device)[:, None] * pitch
        corners.append((start + rows + torch.arange(width, device=tower_map.device)).flatten())
        pitches.append(torch.full((height * width,), pitch, device=tower_map.device, dtype=torch.int64))
        start += tower_map.shape[2] * pitch
    corner, pitch_of = torch.cat(corners)[selected.index], torch.cat(pitches)[selected.index]
    window = torch.arange(size, device=corner.device)
    places = corner[:, None, None] + window[:, None] * pitch_of[:, None, None] + window
    cells = torch.cat([tower_map.flatten(2) for tower_map in padded], dim=2).transpose(1, 2)
    return cells[selected.images[:, None, None], places].movedim(3, 1)
