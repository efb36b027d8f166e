"""Converts the backbones of official Poseur checkpoints to this project's names: :func:`convert_backbone`.

The backbones come from four libraries and are told apart by their parameter names. The prefix ``backbone.``
is removed by the caller.
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
    """torchvision's ResNet -> Detectron2's."""
    return torchvision_name(name) if _RESNET.fullmatch(name) else None


_HRNET = re.compile(r"(conv[12]|bn[12]|layer1|transition[123]|stage[234])\..+")


def _hrnet(name: str) -> str | None:
    """mmpose's HRNet -> timm's, which has the same names."""
    return f"body.{name}" if _HRNET.fullmatch(name) else None


_MOBILENET_ENDS = {"conv1.conv": "conv_stem", "conv1.bn": "bn1", "conv2.conv": "conv_head", "conv2.bn": "bn2"}
# The convolutions of an inverted residual and their norms; that of the first stage has no expansion.
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
    """mmcls's MobileNetV2 -> timm's."""
    module, _, leaf = name.rpartition(".")
    if module in _MOBILENET_ENDS:
        return f"body.{_MOBILENET_ENDS[module]}.{leaf}"
    match = re.fullmatch(r"layer([1-7])\.(\d+)\.conv\.(\d\.(?:conv|bn))", module)
    parts = _MOBILENET_FIRST if match and match[1] == "1" else _MOBILENET_BLOCK
    if match is None or match[3] not in parts:
        return None
    return f"body.blocks.{int(match[1]) - 1}.{match[2]}.{parts[match[3]]}.{leaf}"


@dataclass(frozen=True)
class _Family:
    """Backbones of one architecture, whose parameters have the same names.

    Attributes:
        name: of the architecture.
        marker: a parameter that all backbones of this family have, and none of a later family in the list.
        translate: official name -> name here, "" for a tensor that is not needed here, None for a name that
            no backbone of this family has.
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
    """The tensors of an official backbone under this project's names.

    Args:
        state: official name without the prefix ``backbone.`` -> tensor.

    Returns:
        Name here, without prefix -> tensor, for a backbone of configs/poseur/official. Missing tensors are
        found when the weights are loaded.

    Raises:
        ValueError: the names are those of no official backbone, or one of them is unknown.
    """
    family = next((family for family in _FAMILIES if family.marker in state), None)
    if family is None:
        known = ", ".join(family.name for family in _FAMILIES)
        raise ValueError(f"not an official Poseur backbone ({known}): its names are {sorted(state)[:5]}")
    names = {name: family.translate(name) for name in state}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise ValueError(
            f"{len(unknown)} tensors have names that no {family.name} of Poseur has: {unknown[:5]}"
        )
    return {ours: state[name] for name, ours in names.items() if ours}
