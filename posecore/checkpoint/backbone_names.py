"""Converts the backbones of official Poseur checkpoints: :func:`convert_backbone` renames their parameters.

The official code takes its backbones from four libraries, which differ in their names of parameters. All
names here are without the prefix ``backbone.``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from posecore.checkpoint.hrformer_names import MARKER, official_name
from posecore.checkpoint.weights import torchvision_name

_RESNET = re.compile(
    r"(conv1|bn1|layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample\.[01]))"
    r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)


def _resnet(name: str) -> str | None:
    """A name of torchvision's ResNet -> Detectron2's."""
    return torchvision_name(name) if _RESNET.fullmatch(name) else None


_HRNET = re.compile(r"(conv[12]|bn[12]|layer1|transition[123]|stage[234])\..+")


def _hrnet(name: str) -> str | None:
    """A name of mmpose's HRNet -> timm's, which is the same."""
    return f"body.{name}" if _HRNET.fullmatch(name) else None


_MOBILENET_ENDS = {"conv1.conv": "conv_stem", "conv1.bn": "bn1", "conv2.conv": "conv_head", "conv2.bn": "bn2"}
# The convolutions of an inverted residual block and the norms after them. The block of the first stage has no
# expansion.
_MOBILENET_FIRST = {"0.conv": "conv_dw", "0.bn": "bn1", "1.conv": "conv_pw", "1.bn": "bn2"}
_MOBILENET_BLOCK = {
    "0.conv": "conv_pw",
    "0.bn": "bn1",
    "1.conv": "conv_dw",
    "1.bn": "bn2",
    "2.conv": "conv_pwl",
    "2.bn": "bn3",
}


def _mobilenet(name: str) -> str | None:
    """A name of mmcls's MobileNetV2 -> timm's."""
    module, _, leaf = name.rpartition(".")
    if module in _MOBILENET_ENDS:
        return f"body.{_MOBILENET_ENDS[module]}.{leaf}"
    match = re.fullmatch(r"layer([1-7])\.(\d+)\.conv\.(\d\.(?:conv|bn))", module)
    if match is None:
        return None
    layers = _MOBILENET_FIRST if match[1] == "1" else _MOBILENET_BLOCK
    if match[3] not in layers:
        return None
    return f"body.blocks.{int(match[1]) - 1}.{match[2]}.{layers[match[3]]}.{leaf}"


@dataclass(frozen=True)
class _Family:
    """Backbones with the same parameter names.

    Attributes:
        name: of the family.
        marker: a parameter that all members of the family have, and no member of the families listed after.
        translate: an official name -> ours; "" for a tensor that is not needed, None for an unknown name.
    """

    name: str
    marker: str
    translate: Callable[[str], str | None]


_FAMILIES = (
    _Family("HRFormer", MARKER, official_name),
    _Family("HRNet", "stage2.0.branches.0.0.conv1.weight", _hrnet),
    _Family("MobileNetV2", "layer1.0.conv.0.conv.weight", _mobilenet),
    _Family("ResNet", "layer1.0.conv1.weight", _resnet),
)


def convert_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors of an official backbone this project's names.

    Args:
        state: official state dict, names without the prefix ``backbone.``.

    Returns:
        A state dict for a backbone of configs/poseur/official, names without prefix. Whether it has all
        tensors of a backbone is checked when the backbone loads it.

    Raises:
        ValueError: the state dict is not one of an official backbone, or some of its names are unknown.
    """
    family = next((family for family in _FAMILIES if family.marker in state), None)
    if family is None:
        known = ", ".join(family.name for family in _FAMILIES)
        raise ValueError(
            f"this is no official Poseur backbone ({known}): its first names are {sorted(state)[:5]}"
        )
    names = {name: family.translate(name) for name in state}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise ValueError(
            f"{len(unknown)} tensors have names that no {family.name} of Poseur has: {unknown[:5]}"
        )
    return {ours: state[name] for name, ours in names.items() if ours}
