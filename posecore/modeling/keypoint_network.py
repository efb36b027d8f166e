"""Keypoint networks whose weights are generated for every person, and the peaks of their heatmaps.

:class:`KeypointNetworks` holds the controller that generates them. FCPose (arXiv 2105.14185) calls the networks
dynamic keypoint heads, InsPose (arXiv 2107.08982) KP-Nets.

Letters: N images, C channels, Q locations that networks are generated at, K keypoints, H and W the size of
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

# Networks whose heatmaps exist at the same time: for the losses, and for the peaks, so few that they stay in a
# processor's cache.
LOSS_BLOCK, PEAK_BLOCK = 16, 4


@dataclass(frozen=True)
class GeneratedNetworks:
    """The weights of Q generated networks.

    Attributes:
        parameters: (Q, number of a network's parameters).
        points: (Q, 2) of the locations that they were generated at, in pixels.
        ranges: (Q,) pixels that one unit of the relative coordinates stands for.
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
    """The best cell of each heatmap.

    Attributes:
        cells: (Q, K) int64, row * W + column.
        width: W of the heatmaps.
    """

    cells: Tensor
    width: int


@dataclass(frozen=True)
class Peaks(PeakCells):
    """And what the heatmap says there.

    Attributes:
        logits: (Q, K).
        probability: (Q, K), by the softmax over the cells.
    """

    logits: Tensor
    probability: Tensor


class KeypointNetworks(nn.Module):
    """Generates networks and applies them to the shared map and relative coordinates.

    Args:
        channels: of the tower that networks are generated from.
        widths: channels of the shared map, of the layers between, and K.
        kernel_size: of the convolution that generates.
        ranges: per level the pixels that one unit of the relative coordinates stands for. They are saved
            with the weights, which mean nothing without them.
        stride: pixels per cell of the shared map.
        resize: from (Q, K, H, W) heatmaps to larger or smaller ones, the same for all persons.
        heatmap_stride: pixels per cell of what ``resize`` returns; None for ``stride``.
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
        """The networks at the selected locations; the controller is computed only there.

        Args:
            tower_maps: one (N, C, H_l, W_l) per level.
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
        """The shared map of one image, (C, H, W), and its Q networks -> (Q, K, H', W') logits.

        In full precision also under autocast.
        """
        shared = full_precision(shared)
        relative = self.relative_coordinates(networks, (shared.shape[1], shared.shape[2]))
        with torch.autocast(shared.device.type, enabled=False):
            return self.resize(self.layers(relative.to(shared.dtype), shared, networks.parameters))

    def relative_coordinates(self, networks: GeneratedNetworks, size: tuple[int, int]) -> Tensor:
        """(Q, 2, H, W): x and y of the network's location minus the cell's, in units of its level's range."""
        cells = make_locations([size], [self.stride], networks.points.device).points
        relative = (networks.points[:, :, None] - cells.T) / networks.ranges[:, None, None]
        return relative.unflatten(2, size)

    def cross_entropy(
        self, shared: Tensor, networks: GeneratedNetworks, keypoints: Tensor, block: int = LOSS_BLOCK
    ) -> Tensor:
        """The losses of Q networks on the shared map of one image, without all heatmaps at once.

        The heatmaps of ``block`` networks at a time are made and forgotten, and made once more for the
        gradient, so that any number of positive locations can train.

        Args:
            shared: (C, H, W).
            networks: Q.
            keypoints: (Q, K, 3) in pixels, finite.
            block: heatmaps that exist at the same time.

        Returns:
            (Q, K), as :func:`posecore.structures.heatmaps.cell_cross_entropy` has it.
        """

        def of_some(shared: Tensor, rows: slice) -> Tensor:
            return cell_cross_entropy(self(shared, networks[rows]), keypoints[rows], self.heatmap_stride)

        losses = [
            checkpoint(of_some, shared, rows, use_reentrant=False, preserve_rng_state=False)
            for rows in _blocks(len(networks), block)
        ]
        return torch.cat(losses)

    def peaks(self, shared: Tensor, networks: GeneratedNetworks, block: int = PEAK_BLOCK) -> Peaks:
        """The peaks of Q networks on the shared map of one image, (C, H, W).

        The heatmaps of ``block`` persons at a time are made and forgotten, so that memory does not grow
        with the number of persons.
        """
        found = []
        for rows in _blocks(len(networks), block):
            maps = self(shared, networks[rows])
            logits = maps.flatten(2)
            best, cells = logits.max(dim=2)
            found.append((cells, best, 1 / (logits - best[..., None]).exp().sum(dim=2)))
        cells, best, probability = (torch.cat(values) for values in zip(*found, strict=True))
        return Peaks(cells, maps.shape[3], best, probability)

    def peak_cells(
        self,
        shared: Tensor,
        networks: GeneratedNetworks,
        block: int = PEAK_BLOCK,
        enlarge: Callable[[Tensor], Tensor] | None = None,
    ) -> PeakCells:
        """The cells of :meth:`peaks` alone, in less time.

        ``enlarge``, if there is such a function, gets the heatmaps first: what helps to find peaks but has
        no part in training.
        """
        enlarge = enlarge or nn.Identity()
        found = []
        for rows in _blocks(len(networks), block):
            maps = enlarge(self(shared, networks[rows]))
            found.append(maps.flatten(2).max(dim=2).indices)  # three times as fast as argmax
        return PeakCells(torch.cat(found), maps.shape[3])


def _blocks(count: int, block: int) -> list[slice]:
    """Slices of ``block`` that cover so many; an empty one if there are none."""
    return [slice(start, start + block) for start in range(0, max(count, 1), block)]


def gather_patches(
    tower_maps: list[Tensor], locations: Locations, selected: SelectedLocations, size: int
) -> Tensor:
    """The patches that a convolution reads at the selected locations, zeros beyond the maps.

    Args:
        tower_maps: one (N, C, H_l, W_l) per level.
        locations: the R locations of these levels.
        selected: Q of the N * R locations.
        size: side of the convolution, odd.

    Returns:
        (Q, C, size, size).
    """
    levels = locations.levels[selected.index]
    window = torch.arange(size, device=levels.device)
    patches = tower_maps[0].new_zeros(len(selected), tower_maps[0].shape[1], size, size)
    for level, (tower_map, start) in enumerate(zip(tower_maps, locations.starts, strict=True)):
        at = (levels == level).nonzero()[:, 0]
        cells, width = selected.index[at] - start, tower_map.shape[3]
        rows = (cells // width)[:, None, None] + window[:, None]
        columns = (cells % width)[:, None, None] + window
        padded = F.pad(tower_map, [size // 2] * 4)
        # The chosen cells come first, the channels last.
        patches[at] = padded[selected.images[at][:, None, None], :, rows, columns].movedim(3, 1)
    return patches
