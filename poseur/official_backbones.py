"""The parameter names of the backbones in released Poseur checkpoints, and what they are called here.

They come from four libraries, whose names tell them apart; a backbone's prefix is the caller's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from posecore.engine.weights import torchvision_name

_RESNET = re.compile(
    r"(conv1|bn1|layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample\.[01]))"
    r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)


def _resnet(name: str) -> str | None:
    """torchvision's ResNet -> Detectron2's."""
    return torchvision_name(name) if _RESNET.fullmatch(name) else None


@dataclass(frozen=True)
class _Family:
    """Backbones that share their names.

    Args:
        name: of the family.
        marker: a parameter that all of its members have, and no member of a family after it.
        translate: a released name -> ours, "" where nothing here needs the tensor, None where no member
            has such a name.
    """

    name: str
    marker: str
    translate: Callable[[str], str | None]


_FAMILIES = (_Family("ResNet", "layer1.0.conv1.weight", _resnet),)


def convert_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a released backbone under this project's names.

    Args:
        state: by the released names without their prefix ``backbone.``.

    Returns:
        By our names without prefix, for a backbone of configs/poseur/official. What a backbone of another
        size lacks is found when they are loaded.

    Raises:
        ValueError: these are the names of no released backbone, or one of them is not.
    """
    family = next((family for family in _FAMILIES if family.marker in state), None)
    if family is None:
        known = ", ".join(family.name for family in _FAMILIES)
        raise ValueError(f"no released Poseur backbone ({known}): its names are {sorted(state)[:5]}")
    names = {name: family.translate(name) for name in state}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise ValueError(
            f"{len(unknown)} tensors have names that no {family.name} of Poseur has: {unknown[:5]}"
        )
    return {ours: state[name] for name, ours in names.items() if ours}
