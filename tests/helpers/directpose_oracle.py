"""Stored numbers of both official codes, and our heads with the weights for which they were computed."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from directpose import DirectPose
from directpose.convert_weights import convert
from helpers import configs
from helpers.configs import SMALL_FCOS, override_list
from helpers.oracles import load_fill
from posecore.modeling.fcos.locations import Locations, SelectedLocations, make_locations

LEVELS = ("p3", "p4", "p5", "p6", "p7")
STRIDES = (8, 16, 32, 64, 128)
# One image of 256 x 320.
HEAD_SIZES = ((32, 40), (16, 20), (8, 10), (4, 5), (2, 3))


def build(config: str, *overrides: object) -> DirectPose:
    """The model of a configuration under configs/directpose, without weights."""
    return configs.build(f"directpose/{config}", *overrides)


def filled(shared: Path, config: str, manifest: str) -> DirectPose:
    """The model in evaluation mode, with the weights of a manifest in all parts but the backbone."""
    fill = load_fill(shared)
    tensors = json.loads((shared / "oracles" / "directpose" / manifest).read_text())["tensors"]
    official = {}
    for tensor in tensors:
        dtype = "int64" if tensor["name"].endswith("num_batches_tracked") else "float32"
        value = fill.parameter(tensor["name"], tensor["shape"], dtype)
        official[tensor["name"]] = torch.from_numpy(np.asarray(value))
    model = build(config).eval()
    missing, unexpected = model.load_state_dict(convert(official), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"backbone"}
    return model


def head_inputs(shared: Path) -> dict[str, Tensor]:
    """The maps of the pyramid for which the outputs of the heads are stored."""
    fill = load_fill(shared)
    return {
        level: torch.from_numpy(fill.normal(f"directpose/{level}", (1, 256, *size)))
        for level, size in zip(LEVELS, HEAD_SIZES, strict=True)
    }


def locations(sizes: tuple[tuple[int, int], ...] = HEAD_SIZES) -> Locations:
    """The locations of levels of these sizes."""
    return make_locations(sizes, STRIDES)


def dense_keypoints(model: DirectPose, features: dict[str, Tensor]) -> list[Tensor]:
    """The (N, 2K, H, W) keypoints of each level, in the layout of the official codes."""
    predictions = model.detector(features)
    where = predictions.locations
    num_images = len(features[LEVELS[0]])
    offsets = model.offsets(predictions, SelectedLocations.everywhere(num_images, len(where)))
    offsets = offsets.flatten(1).unflatten(0, (num_images, -1))
    sizes = [height * width for height, width in where.sizes]
    return [
        level.transpose(1, 2).unflatten(2, size)
        for level, size in zip(offsets.split(sizes, dim=1), where.sizes, strict=True)
    ]


TINY = override_list(
    {
        **SMALL_FCOS,
        "MODEL.DIRECTPOSE.GROUP_CHANNELS": 8,
        "MODEL.DIRECTPOSE.HEATMAP_CHANNELS": 32,
    }
)


def tiny(*overrides: object, config: str = "R_50_25ep.yaml") -> DirectPose:
    """Full KPAlign, small enough to train a step in a moment."""
    return build(config, *TINY, *overrides)
