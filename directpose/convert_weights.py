"""Conversion of DirectPose weights: :func:`convert` renames the parameters of the two official codes.

These are the paper's official code and gluon-cv's (its head without visibilities, with or without boxes).
Only parameters of heads are renamed. Both codes stand on an anti-aliased ResNet, which is not converted.
"""

import re

import torch
from torch import Tensor

# (pattern of an official name without its last part, name here); the first that fits counts.
_PAPER = (
    (r"rpn\.head\.cls_tower\.(\d+)", r"detector.head.towers.cls.\1"),
    (r"rpn\.head\.kps_tower\.(\d+)", r"keypoint_branch.tower.\1"),
    (r"rpn\.head\.kps_bases", r"keypoint_branch.locator"),
    (r"rpn\.head\.sample_features_conv\.(\d+)", r"keypoint_branch.sampler.\1"),
    (r"rpn\.head\.kps_offsets\.(\d+)\.kps_offsets", r"keypoint_branch.predictors.\1"),
    (r"rpn\.head\.cls_logits", r"detector.head.predictions.cls.conv"),
    (r"rpn\.head\.centerness", r"detector.head.predictions.centerness.conv"),
    (r"heatmaps\.deeplab\.seg_head\.(\d+)", r"heatmap_branch.tower.\1"),
    (r"heatmaps\.deeplab\.heatmaps", r"heatmap_branch.predictor"),
)
_GLUON_HEAD = r"proposal_generator\.directpose_head\."
_GLUON = (
    (_GLUON_HEAD + r"cls_tower\.(\d+)", r"detector.head.towers.cls.\1"),
    (_GLUON_HEAD + r"kpt_tower\.(\d+)", r"keypoint_branch.tower.\1"),
    (_GLUON_HEAD + r"bbox_tower\.(\d+)", r"detector.head.towers.box.\1"),
    (_GLUON_HEAD + r"locator", r"keypoint_branch.locator"),
    (_GLUON_HEAD + r"sampler\.(\d+)", r"keypoint_branch.sampler.\1"),
    (_GLUON_HEAD + r"predictor\.(\d+)\.kpt_predictor", r"keypoint_branch.predictors.\1"),
    (_GLUON_HEAD + r"cls_logits", r"detector.head.predictions.cls.conv"),
    (_GLUON_HEAD + r"ctrness", r"detector.head.predictions.centerness.conv"),
    (_GLUON_HEAD + r"bbox_pred", r"detector.head.predictions.ltrb.conv"),
    (_GLUON_HEAD + r"hm_tower\.(\d+)", r"heatmap_branch.tower.\1"),
    (_GLUON_HEAD + r"hm_pred", r"heatmap_branch.predictor"),
)
_NAMES = [(re.compile(official + r"\.(\w+)$"), ours) for official, ours in _PAPER + _GLUON]
# gluon-cv keeps the factor of each level as a parameter of its own; here all factors are one vector.
_SCALE = re.compile(_GLUON_HEAD + r"scales\.(\d+)\.scale$")
_SCALES = "detector.head.predictions.ltrb.scales"


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of an official state dict to this project's names.

    Args:
        state: the tensors of the heads of the paper's official code or of gluon-cv's.

    Raises:
        ValueError: some names belong to neither code; the message shows the first five.
    """
    converted: dict[str, Tensor] = {}
    scales: dict[int, Tensor] = {}
    unknown = []
    for name, tensor in state.items():
        if match := _SCALE.match(name):
            scales[int(match.group(1))] = tensor
        elif ours := _rename(name):
            converted[ours] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(f"{len(unknown)} tensors have names that no DirectPose head has: {unknown[:5]}")
    if scales:
        converted[_SCALES] = torch.cat([scales[level].reshape(1) for level in sorted(scales)])
    return converted


def _rename(name: str) -> str | None:
    """The name here of an official parameter; None if no pattern fits."""
    for pattern, ours in _NAMES:
        if match := pattern.match(name):
            return f"{match.expand(ours)}.{match.group(pattern.groups)}"
    return None
