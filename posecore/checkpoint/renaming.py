"""Renames the tensors of official checkpoints: :func:`rename_tensors`, and :class:`TransformerNames`."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from posecore.checkpoint.weights import torchvision_name

_RESNET = "backbone.0.body."
_LAYER = re.compile(r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(\w+)\.(.+)")


def rename_tensors(
    state: dict[str, Tensor], rename: Callable[[str], str | None], begins: Iterable[str], method: str
) -> dict[str, Tensor]:
    """Gives the tensors of an official checkpoint the names that they have here.

    Args:
        state: official name -> tensor.
        rename: official name -> name here; None where no official checkpoint has such a name.
        begins: the name of a tensor begins with each of these in every official checkpoint.
        method: name of the method, for messages.

    Returns:
        Name here -> the same tensor.

    Raises:
        ValueError: a part of the model is missing, or a tensor has a name that no official checkpoint has;
            the message shows which.
    """
    if missing := [begin for begin in begins if not any(name.startswith(begin) for name in state)]:
        raise ValueError(f"no official {method} checkpoint: no tensor's name begins with {missing[0]!r}")
    names = {theirs: rename(theirs) for theirs in state}
    if unknown := [theirs for theirs, ours in names.items() if ours is None]:
        raise ValueError(f"{len(unknown)} tensors have names that no {method} checkpoint has: {unknown[:5]}")
    return {ours: state[theirs] for theirs, ours in names.items() if ours is not None}


@dataclass(frozen=True)
class TransformerNames:
    """The official names of a model that descends from DETR, and the names here.

    Attributes:
        parts: beginning of an official name -> beginning of the name here, for what is in no layer.
        sublayers: "encoder" and "decoder" -> official name of a part of a layer -> its name here.
        layer: the name here of a tensor of a layer, with places for stack, number, sublayer and leaf.
    """

    parts: Mapping[str, str]
    sublayers: Mapping[str, Mapping[str, str]]
    layer: str

    @property
    def begins(self) -> tuple[str, ...]:
        """The beginnings that names have in every official checkpoint."""
        stacks = (f"transformer.{stack}.layers.0." for stack in self.sublayers)
        return (_RESNET, *self.parts, *stacks)

    def rename(self, theirs: str) -> str | None:
        """The name here of an official name, None where no official checkpoint has such a name."""
        if theirs.startswith(_RESNET):
            return "backbone." + torchvision_name(theirs.removeprefix(_RESNET))
        if match := _LAYER.fullmatch(theirs):
            stack, number, sublayer, leaf = match.groups()
            ours = self.sublayers[stack].get(sublayer)
            return ours and self.layer.format(stack=stack, number=number, sublayer=ours, leaf=leaf)
        for part, ours in self.parts.items():
            if theirs.startswith(part):
                return ours + theirs.removeprefix(part)
        return None
