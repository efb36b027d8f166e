"""Converts official checkpoints of POET (amathislab/poet): ``convert`` renames their parameters."""

import re

from torch import Tensor

from posecore.checkpoint.renaming import rename_tensors
from posecore.checkpoint.weights import torchvision_name

_RESNET = "backbone.0.body."
_PARTS = {
    "input_proj.": "projection.",
    "query_embed.": "queries.positions.",
    "class_embed.": "head.classifier.",
    "kpt_embed.": "head.regressor.",
    "transformer.decoder.norm.": "transformer.norm.",
}
_LAYER = re.compile(r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(\w+)\.(.+)")
_FEED_FORWARD = {"linear1": "feed_forward.0", "linear2": "feed_forward.3"}
_SUBLAYERS = {
    "encoder": {
        "self_attn": "attention",
        "norm1": "after_attention.norm",
        "norm2": "after_feed_forward.norm",
        **_FEED_FORWARD,
    },
    "decoder": {
        "self_attn": "self_attention",
        "norm1": "after_self_attention.norm",
        "multihead_attn": "cross_attention.attention",
        "norm2": "after_cross_attention.norm",
        "norm3": "after_feed_forward.norm",
        **_FEED_FORWARD,
    },
}


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors of an official checkpoint the names that a model of configs/poet/official has.

    Args:
        state: official name -> tensor.

    Returns:
        Name here -> the same tensor.

    Raises:
        ValueError: a part of the model is missing, or a tensor has a name that no official checkpoint has;
            the message shows which.
    """
    begins = (_RESNET, *_PARTS, "transformer.encoder.layers.0.", "transformer.decoder.layers.0.")
    return rename_tensors(state, _name, begins, "POET")


def _name(theirs: str) -> str | None:
    """The name here of an official name, None where no official checkpoint has such a name."""
    if theirs.startswith(_RESNET):
        return "backbone." + torchvision_name(theirs.removeprefix(_RESNET))
    if match := _LAYER.fullmatch(theirs):
        stack, number, sublayer, leaf = match.groups()
        ours = _SUBLAYERS[stack].get(sublayer)
        return ours and f"transformer.{stack}.{number}.{ours}.{leaf}"
    for part, ours in _PARTS.items():
        if theirs.startswith(part):
            return ours + theirs.removeprefix(part)
    return None
