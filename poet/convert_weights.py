"""Converts official checkpoints of POET (amathislab/poet): ``convert`` renames their parameters."""

from torch import Tensor

from posecore.checkpoint.renaming import TransformerNames, rename_tensors

_PARTS = {
    "input_proj.": "projection.",
    "query_embed.": "queries.positions.",
    "class_embed.": "head.classifier.",
    "kpt_embed.": "head.regressor.",
    "transformer.decoder.norm.": "transformer.norm.",
}
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
_NAMES = TransformerNames(_PARTS, _SUBLAYERS, layer="transformer.{stack}.{number}.{sublayer}.{leaf}")


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
    return rename_tensors(state, _NAMES.rename, _NAMES.begins, "POET")
