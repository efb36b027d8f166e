"""Conversion of InsPose weights: :func:`convert` renames the parameters of the official code (opera)."""

import torch
from torch import Tensor

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_HEAD = "bbox_head"
# Number of blocks of each stage of ResNet-50.
_BLOCKS = (3, 4, 6, 3)
# Output channels of the first layer of a KP-Net.
_WIDTH = 8
# Number of pixels in one unit of the relative coordinates, per level; constants of the official code.
_RANGES = (64.0, 128.0, 256.0, 512.0, 1024.0)


def _batch_norm(official: str, ours: str, frozen: bool) -> dict[str, str]:
    # A frozen norm has no batch count here, so the official one is dropped (mapped to "").
    return {f"{official}.{leaf}": "" if frozen and leaf == _NORM[-1] else f"{ours}.{leaf}" for leaf in _NORM}


def _backbone() -> dict[str, str]:
    names = {"backbone.conv1.weight": "stem.conv1.weight"} | _batch_norm(
        "backbone.bn1", "stem.conv1.norm", True
    )
    for stage, blocks in enumerate(_BLOCKS, 1):
        for block in range(blocks):
            official, ours = f"backbone.layer{stage}.{block}", f"res{stage + 1}.{block}"
            convs = {f"conv{i}": (f"bn{i}", f"conv{i}") for i in (1, 2, 3)}
            if block == 0:
                convs["downsample.0"] = ("downsample.1", "shortcut")
            for conv, (norm, name) in convs.items():
                names[f"{official}.{conv}.weight"] = f"{ours}.{name}.weight"
                names |= _batch_norm(f"{official}.{norm}", f"{ours}.{name}.norm", stage == 1)
    return {official: ours and f"backbone.bottom_up.{ours}" for official, ours in names.items()}


def _pyramid() -> dict[str, str]:
    convs = {f"lateral_convs.{i}": f"fpn_lateral{i + 3}" for i in range(3)}
    convs |= {f"fpn_convs.{i}": f"fpn_output{i + 3}" for i in range(3)}
    convs |= {"fpn_convs.3": "top_block.p6", "fpn_convs.4": "top_block.p7"}
    return {
        f"neck.{official}.conv.{leaf}": f"backbone.{ours}.{leaf}"
        for official, ours in convs.items()
        for leaf in ("weight", "bias")
    }


def _heads() -> dict[str, str]:
    units = {f"cls_convs.{i}": ("detector.head.cls.tower", i) for i in range(4)}
    units |= {f"ctrl_convs.{i}": ("detector.head.controller.tower", i) for i in range(4)}
    units |= {f"kpt_convs.{i}": ("detector.head.keypoint_tower", i) for i in range(4)}
    units |= {f"shared_convs.{i}": ("keypoint_features.0", i) for i in range(4)}
    units |= {"shared_convs.4": ("keypoint_features.1", 0)}
    units |= {f"hm_convs.{i}": ("trunk.coarse", i) for i in range(2)} | {"hm_convs.2": ("trunk.fine", 0)}
    names = {}
    for official, (ours, unit) in units.items():
        names[f"{official}.conv.weight"] = f"{ours}.{3 * unit}.weight"
        for leaf in ("weight", "bias"):
            names[f"{official}.gn.{leaf}"] = f"{ours}.{3 * unit + 1}.{leaf}"
    for official, ours in (("cls_star", "detector.head.cls"), ("ctr_star", "detector.head.controller")):
        names[f"{official}_conv.weight"] = f"{ours}.star"
        for leaf in ("weight", "bias"):
            names[f"{official}_gn.{leaf}"] = f"{ours}.norm.{leaf}"
    for official, ours in {
        "conv_cls": "detector.head.classifier",
        "kpt_offset": "detector.head.keypoints",
        "hm_pred": "trunk.heatmaps",
        "ae_pred": "trunk.tags",
        "hm_offset": "trunk.predict_offsets",
    }.items():
        for leaf in ("weight", "bias"):
            names[f"{official}.{leaf}"] = f"{ours}.{leaf}"
    return {f"{_HEAD}.{official}": ours for official, ours in names.items()}


_SAME = _backbone() | _pyramid() | _heads()
_CONTROLLER = (f"{_HEAD}.controller.weight", f"{_HEAD}.controller.bias")
# The length of this tensor is the number of channels of the shared map.
_SHARED = f"{_HEAD}.shared_convs.4.gn.bias"


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of an official state dict, for a model of configs/inspose/official.

    Args:
        state: an official state dict.

    Raises:
        ValueError: tensors of the official model are missing, or some names do not belong to it; the message
            shows the first five.
    """
    known = {*_SAME, *_CONTROLLER}
    if missing := sorted(known - state.keys()):
        raise ValueError(
            f"not an official InsPose checkpoint: it lacks {len(missing)} tensors: {missing[:5]}"
        )
    if unknown := sorted(state.keys() - known):
        raise ValueError(f"{len(unknown)} tensors have names that no InsPose checkpoint has: {unknown[:5]}")
    converted = {ours: state[official] for official, ours in _SAME.items() if ours}
    converted["keypoint_networks.ranges"] = torch.tensor(_RANGES)
    channels = len(state[_SHARED])
    for name in _CONTROLLER:
        leaf = name.rpartition(".")[2]
        converted[f"keypoint_networks.controller.{leaf}"] = coordinates_first(state[name], channels)
    return converted


def coordinates_first(parameters: Tensor, channels: int) -> Tensor:
    """Reorders the parameters of KP-Nets, or of the controller that generates them, from official to ours.

    In the official code the relative coordinates follow the channels of the shared map and point from the
    location to the cell. Here they come first and point from the cell to the location.

    Args:
        parameters: (number of parameters of a network, ...).
        channels: number of channels of the shared map.
    """
    end = _WIDTH * (channels + 2)
    shared, coordinates = parameters[:end].unflatten(0, (_WIDTH, channels + 2)).split([channels, 2], dim=1)
    first = torch.cat([-coordinates, shared], dim=1).flatten(0, 1)
    return torch.cat([first, parameters[end:]])
