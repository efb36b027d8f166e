"""Converts official checkpoints of GroupPose (Michel-liu/GroupPose): ``convert`` renames their parameters."""

import re

import torch
from torch import Tensor

from posecore.checkpoint.renaming import TransformerNames, rename_tensors

_ALIAS = re.compile(r"transformer\.decoder\.(?=(class|pose)_embed\.)")
_PARTS = {
    "input_proj.": "projection.levels.",
    "class_embed.": "decoder.classifiers.",
    "pose_embed.": "decoder.regressors.",
    "transformer.level_embed": "encoder.level_embedding",
    "transformer.keypoint_embedding.": "tokens.keypoints.",
    "transformer.instance_embedding.": "tokens.person.",
    "transformer.enc_output.": "proposals.project.",
    "transformer.enc_output_norm.": "proposals.norm.",
    "transformer.enc_out_class_embed.": "proposals.classifier.",
    "transformer.enc_pose_embed.": "proposals.regressor.",
    "transformer.decoder.half_pose_ref_point_head.": "decoder.position_embedding.",
}
_DEFORMABLE = {
    "norm1": "after_attention.norm",
    "linear1": "feed_forward.0",
    "linear2": "feed_forward.3",
    "norm2": "after_feed_forward.norm",
}
_SUBLAYERS = {
    "encoder": {"self_attn": "attention", **_DEFORMABLE},
    "decoder": {
        "within_attn": "within",
        "within_norm": "after_within.norm",
        "across_attn": "across",
        "across_norm": "after_across.norm",
        "cross_attn": "deformable.attention",
        **{theirs: f"deformable.{ours}" for theirs, ours in _DEFORMABLE.items()},
    },
}
_NAMES = TransformerNames(_PARTS, _SUBLAYERS, layer="{stack}.layers.{number}.{sublayer}.{leaf}")


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors of an official checkpoint the names that a model of configs/grouppose/official has.

    Args:
        state: official name -> tensor. The heads of the decoder may be there twice, by both of their names.

    Returns:
        Name here -> the same tensor.

    Raises:
        ValueError: as :func:`rename_tensors`, or the two tensors of a head differ; the message shows which.
    """
    converted = dict(state)
    for second in filter(_ALIAS.match, state):
        first = _ALIAS.sub("", second)
        if not torch.equal(converted.setdefault(first, state[second]), converted.pop(second)):
            raise ValueError(f"{second} must hold the same numbers as {first}, whose second name it is")
    return rename_tensors(converted, _NAMES.rename, _NAMES.begins, "GroupPose")
