"""Converts official checkpoints of GroupPose (Michel-liu/GroupPose): ``convert`` renames their parameters."""

import re

import torch
from torch import Tensor

from posecore.checkpoint.renaming import rename_tensors
from posecore.checkpoint.weights import torchvision_name

_RESNET = "backbone.0.body."
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
_LAYER = re.compile(r"transformer\.(encoder|decoder)\.layers\.(\d+)\.(\w+)\.(.+)")
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


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors of an official checkpoint the names that a model of configs/grouppose/official has.

    Args:
        state: official name -> tensor. The heads of the decoder may be there twice, by both of their names.

    Returns:
        Name here -> the same tensor.

    Raises:
        ValueError: as :func:`rename_tensors`, or the two tensors of a head differ; the message shows which.
    """
    begins = (_RESNET, *_PARTS, "transformer.encoder.layers.0.", "transformer.decoder.layers.0.")
    converted = dict(state)
    for second in filter(_ALIAS.match, state):
        first = _ALIAS.sub("", second)
        if not torch.equal(converted.setdefault(first, state[second]), converted.pop(second)):
            raise ValueError(f"{second} must hold the same numbers as {first}, whose second name it is")
    return rename_tensors(converted, _name, begins, "GroupPose")


def _name(theirs: str) -> str | None:
    """The name here of an official name, None where no official checkpoint has such a name."""
    if theirs.startswith(_RESNET):
        return "backbone." + torchvision_name(theirs.removeprefix(_RESNET))
    if match := _LAYER.fullmatch(theirs):
        stack, number, sublayer, leaf = match.groups()
        ours = _SUBLAYERS[stack].get(sublayer)
        return ours and f"{stack}.layers.{number}.{ours}.{leaf}"
    for part, ours in _PARTS.items():
        if theirs.startswith(part):
            return ours + theirs.removeprefix(part)
    return None
