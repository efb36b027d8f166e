"""The refinement of peaks by offsets from the centers of cells, shared by all persons or generated for each.

MODEL.FCPOSE.REFINEMENT names one of :data:`REFINEMENTS`, a function that builds the :class:`Refinement`.

Source: FCPose (arXiv 2105.14185), section 3.2 and Tables 4 and 5.

Letters: N images, Q selected locations, K keypoints, n cells per keypoint, C channels of F, H and W the size
of the heatmaps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from fcpose.basis import FinestOffsets, NoOffsets, SharedMaps, TowerOffsets
from fcpose.losses import OFFSET_LOSSES, KeypointLoss, squared_own_offset_error
from posecore.config.options import choice
from posecore.modeling.fcos.detector import DensePredictions
from posecore.modeling.fcos.locations import SelectedLocations
from posecore.modeling.keypoint_network import KeypointNetworks
from posecore.structures.heatmaps import cell_centers

# How many times larger the deconvolution makes the heatmaps (Table 4): from 1/8 of the image to 1/2.
DECONVOLUTION = 4


class SharedOffsetReader(nn.Module):
    """Reads the offsets that all persons of an image share (section 3.2)."""

    def forward(
        self, shared: SharedMaps, predictions: DensePredictions, selected: SelectedLocations, cells: Tensor
    ) -> Tensor:
        """Reads the offsets at cells of the heatmaps.

        Args:
            shared: the shared maps of the batch.
            predictions: the predictions of the detector.
            selected: the Q locations of the persons.
            cells: (Q, K, n) int64 cells, row * W + column.

        Returns:
            (Q, K, n, 2) offsets from the center of the cell to the keypoint, in pixels.
        """
        width = shared.offsets.shape[4]
        images = selected.images[:, None, None]
        each = torch.arange(cells.shape[1], device=cells.device)[:, None]
        return shared.offsets[images, each, :, cells // width, cells % width]


class GeneratedOffsetReader(nn.Module):
    """Generates a 1x1 convolution on F for every person (Table 5) and applies it at the given cells only.

    Args:
        networks: generates the convolution from F to 2K channels, x and y of each keypoint in cells.
    """

    def __init__(self, networks: KeypointNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(
        self, shared: SharedMaps, predictions: DensePredictions, selected: SelectedLocations, cells: Tensor
    ) -> Tensor:
        """Computes the offsets at cells of the heatmaps; see :meth:`SharedOffsetReader.forward`."""
        own = self.networks.generate(predictions.towers["box"], predictions.locations, selected)
        width, stride = shared.bases.shape[3], self.networks.stride
        (layer,) = self.networks.layers.split(own.parameters)
        weight, bias = layer.weight.unflatten(1, (-1, 2)), layer.bias.unflatten(1, (-1, 2))
        images = selected.images[:, None, None]
        features = shared.bases[images, :, cells // width, cells % width]  # (Q, K, n, C)
        relative = own.points[:, None, None] - cell_centers(cells, width, stride)
        relative = relative / own.ranges[:, None, None, None]
        inputs = torch.cat([relative, features], dim=-1)
        with torch.autocast(inputs.device.type, enabled=False):
            return (inputs @ weight.transpose(2, 3) + bias[:, :, None]) * stride


@dataclass(frozen=True)
class Refinement:
    """The parts of the model that depend on how peaks are refined.

    Attributes:
        offsets: computes (N, K, 2, H, W) offsets in pixels from the finest level and the tower of F.
        offset_reader: reads or generates the offsets of selected locations at given cells.
        heatmap_stride: pixels per cell of the heatmaps.
        offset_loss: loss of the offsets; None where offsets are not trained.
        resize: resizes heatmaps from the stride of F to ``heatmap_stride``; None if the strides are equal.
    """

    offsets: nn.Module
    offset_reader: SharedOffsetReader | GeneratedOffsetReader
    heatmap_stride: int
    offset_loss: KeypointLoss | None
    resize: nn.Module | None = None


def offsets_from_finest_level(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> Refinement:
    """Offsets from one convolution on the first level, as in the paper.

    Args:
        cfg: the configuration.
        in_channels: channels of the pyramid.
        num_keypoints: K.
        stride: pixels per cell of F.
    """
    return Refinement(
        offsets=FinestOffsets(in_channels, num_keypoints, stride),
        offset_reader=SharedOffsetReader(),
        heatmap_stride=stride,
        offset_loss=choice(cfg, "MODEL.FCPOSE.OFFSET_LOSS", OFFSET_LOSSES),
    )


def offsets_from_tower(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> Refinement:
    """Offsets from the tower of F, as in the official code; see :func:`offsets_from_finest_level`."""
    return Refinement(
        offsets=TowerOffsets(cfg.MODEL.FCPOSE.CONVS_DIM, num_keypoints),
        offset_reader=SharedOffsetReader(),
        heatmap_stride=stride,
        offset_loss=choice(cfg, "MODEL.FCPOSE.OFFSET_LOSS", OFFSET_LOSSES),
    )


def generated_offsets(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> Refinement:
    """Offsets from a layer that is generated for every person (Table 5).

    Raises:
        ValueError: MODEL.FCPOSE.OFFSET_LOSS is not "squared".
    """
    _require(cfg, "OFFSET_LOSS", "squared")
    networks = KeypointNetworks(
        cfg.MODEL.FCOS.CHANNELS,
        (cfg.MODEL.FCPOSE.CHANNELS, 2 * num_keypoints),
        kernel_size=cfg.MODEL.FCPOSE.CONTROLLER_KERNEL,
        ranges=coordinate_ranges(cfg),
        stride=stride,
    )
    return Refinement(
        offsets=NoOffsets(num_keypoints, 1),
        offset_reader=GeneratedOffsetReader(networks),
        heatmap_stride=stride,
        offset_loss=squared_own_offset_error,
    )


def deconvolution(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> Refinement:
    """Heatmaps four times finer instead of offsets (Table 4).

    Raises:
        ValueError: MODEL.FCPOSE.HEATMAP_LOSS is not "cells".
    """
    _require(cfg, "HEATMAP_LOSS", "cells")
    return Refinement(
        offsets=NoOffsets(num_keypoints, DECONVOLUTION),
        offset_reader=SharedOffsetReader(),
        heatmap_stride=stride // DECONVOLUTION,
        offset_loss=None,
        resize=nn.ConvTranspose2d(
            num_keypoints,
            num_keypoints,
            2 * DECONVOLUTION,
            stride=DECONVOLUTION,
            padding=DECONVOLUTION // 2,
        ),
    )


def no_refinement(cfg: CfgNode, in_channels: int, num_keypoints: int, stride: int) -> Refinement:
    """No refinement: a keypoint is the center of its cell (Table 4)."""
    return Refinement(
        offsets=NoOffsets(num_keypoints, 1),
        offset_reader=SharedOffsetReader(),
        heatmap_stride=stride,
        offset_loss=None,
    )


# The values of MODEL.FCPOSE.REFINEMENT.
REFINEMENTS: dict[str, Callable[[CfgNode, int, int, int], Refinement]] = {
    "p3": offsets_from_finest_level,
    "tower": offsets_from_tower,
    "per_person": generated_offsets,
    "deconvolution": deconvolution,
    "none": no_refinement,
}


def coordinate_ranges(cfg: CfgNode) -> tuple[float, ...]:
    """The number of pixels in one unit of the relative coordinates, for each level.

    It is the largest size of the persons of the level; for the last level, that of the image.
    """
    return (*cfg.MODEL.FCOS.SIZE_RANGES, cfg.INPUT.MAX_SIZE_TRAIN)


def _require(cfg: CfgNode, key: str, value: str) -> None:
    """Raises an error unless MODEL.FCPOSE has the value at that key."""
    node = cfg.MODEL.FCPOSE
    if node[key] != value:
        raise ValueError(
            f"MODEL.FCPOSE.{key} must be {value!r} with MODEL.FCPOSE.REFINEMENT {node.REFINEMENT!r}, "
            f"not {node[key]!r}"
        )
