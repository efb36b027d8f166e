"""Converts official Poseur checkpoints: :func:`convert` renames their parameters to this project's names.

The names of backbones are in :mod:`posecore.checkpoint.backbone_names`.
"""

import re

from torch import Tensor

from posecore.checkpoint.backbone_names import convert_backbone

_BACKBONE = "backbone."
_LEAF = r"\.(weight|bias)"
_LAYER = r"keypoint_head\.transformer\.decoder\.layers\.(\d+)\."
_OUR_LAYER = r"network.decoder.layers.\1."
# Official names whose tensors stay unchanged, as patterns -> our names.
_RENAMED = {
    r"neck\.convs\.(\d+)\.conv\.weight": r"network.neck.levels.\1.0.weight",
    r"neck\.convs\.(\d+)\.gn" + _LEAF: r"network.neck.levels.\1.1.\2",
    r"keypoint_head\.transformer\.level_embeds": r"network.positions.embedding",
    r"keypoint_head\.transformer\.fc_coord\.linear" + _LEAF: r"network.start.head.points.\1",
    r"keypoint_head\.transformer\.fc_sigma\.linear" + _LEAF: r"network.start.head.scales.0.\1",
    r"keypoint_head\.transformer\.pos_trans" + _LEAF: r"network.start.encoder.projection.\1",
    r"keypoint_head\.transformer\.pos_trans_norm" + _LEAF: r"network.start.encoder.norm.\1",
    r"keypoint_head\.transformer\.pos_embed\.weight": r"network.start.encoder.embedding",
    _LAYER + r"attentions\.0\.attn\.(in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias)": (
        _OUR_LAYER + r"self_attention.attention.\2"
    ),
    _LAYER + r"attentions\.1\.(sampling_offsets|attention_weights|output_proj)" + _LEAF: (
        _OUR_LAYER + r"cross_attention.attention.\2.\3"
    ),
    _LAYER + r"ffns\.0\.layers\.0\.0" + _LEAF: _OUR_LAYER + r"feed_forward.layers.0.\2",
    _LAYER + r"ffns\.0\.layers\.1" + _LEAF: _OUR_LAYER + r"feed_forward.layers.3.\2",
    _LAYER + r"norms\.0" + _LEAF: _OUR_LAYER + r"self_attention.norm.\2",
    _LAYER + r"norms\.1" + _LEAF: _OUR_LAYER + r"cross_attention.norm.\2",
    _LAYER + r"norms\.2" + _LEAF: _OUR_LAYER + r"feed_forward.norm.\2",
    r"keypoint_head\.fc_coord_branches\.(\d+)\.([024])" + _LEAF: _OUR_LAYER + r"head.references.\2.\3",
    r"keypoint_head\.fc_coord_output_branches\.(\d+)\.([024])" + _LEAF: _OUR_LAYER + r"head.offsets.\2.\3",
    r"keypoint_head\.fc_sigma_branches\.(\d+)\.([01])" + _LEAF: _OUR_LAYER + r"head.scales.layers.\2.\3",
    r"keypoint_head\.fc_sigma_branches\.(\d+)\.2\.linear" + _LEAF: _OUR_LAYER + r"head.scales.layers.2.\2",
    r"keypoint_head\.enc_flow\.mask": r"pose_losses.coarse.flow.mask",
    r"keypoint_head\.enc_flow\.t\.(\d+)\.([024])" + _LEAF: r"pose_losses.coarse.flow.shift.\1.\2.\3",
    r"keypoint_head\.enc_flow\.s\.(\d+)\.([024])" + _LEAF: r"pose_losses.coarse.flow.log_scale.\1.\2.\3",
    r"keypoint_head\.dec_flow\.mask": r"pose_losses.decoder.flow.mask",
    r"keypoint_head\.dec_flow\.t\.(\d+)\.([024])" + _LEAF: r"pose_losses.decoder.flow.shift.\1.\2.\3",
    r"keypoint_head\.dec_flow\.s\.(\d+)\.([024])" + _LEAF: r"pose_losses.decoder.flow.log_scale.\1.\2.\3",
}
_VALUE_WEIGHT = _LAYER + r"attentions\.1\.value_proj_weight\.weight"
_VALUE_BIAS = _LAYER + r"attentions\.1\.value_proj_bias\.weight"
_OUR_VALUE = _OUR_LAYER + "cross_attention.attention.value_proj."


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors of an official checkpoint this project's names.

    Args:
        state: an official state dict.

    Returns:
        A state dict for a model of configs/poseur/official. Whether it has all tensors of a model is checked
        when the model loads it.

    Raises:
        ValueError: the state dict is not one of Poseur, or some of its names are unknown; the message shows
            a few of them.
    """
    if not any(name.startswith("keypoint_head.transformer.") for name in state):
        raise ValueError(f"this is no official Poseur checkpoint: its first names are {sorted(state)[:5]}")
    backbone = {
        name.removeprefix(_BACKBONE): tensor for name, tensor in state.items() if name.startswith(_BACKBONE)
    }
    converted = {f"backbone.{name}": tensor for name, tensor in convert_backbone(backbone).items()}
    unknown = []
    for name, tensor in state.items():
        if name.startswith(_BACKBONE):
            continue
        if ours := _translate(name):
            converted[ours] = tensor
        elif match := re.fullmatch(_VALUE_WEIGHT, name):
            converted[match.expand(_OUR_VALUE) + "weight"] = _linear_weight(tensor)
        elif match := re.fullmatch(_VALUE_BIAS, name):
            converted[match.expand(_OUR_VALUE) + "bias"] = tensor.flatten()
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{len(unknown)} tensors have names that no Poseur checkpoint has: {sorted(unknown)[:5]}"
        )
    return converted


def _translate(name: str) -> str | None:
    for official, ours in _RENAMED.items():
        if match := re.fullmatch(official, name):
            return match.expand(ours)
    return None


def _linear_weight(tensor: Tensor) -> Tensor:
    """(heads * in, out per head), one matrix per head -> (out, in), the weight of a linear layer."""
    channels_per_head = tensor.shape[1]
    channels = int(tensor.numel() ** 0.5)
    return tensor.view(-1, channels, channels_per_head).transpose(1, 2).flatten(0, 1)
