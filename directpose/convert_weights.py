"""The parameter names of the two published implementations, and what they are called here.

Only their heads are known (the authors' code inside a fork, and gluon-cv's without visibilities, with
or without boxes); both stand on an anti-aliased ResNet whose names are not.
"""

import re

import torch
from torch import Tensor

# Prefix of an implementation -> (pattern behind the prefix, name here); the first that fits counts.
_AUTHORS = (
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
_NAMES = [(re.compile(theirs + r"\.(\w+)$"), ours) for theirs, ours in _AUTHORS + _GLUON]
# gluon-cv keeps one factor per level, each a parameter of its own; here they are one vector.
_SCALE = re.compile(_GLUON_HEAD + r"scales\.(\d+)\.scale$")
_SCALES = "detector.head.predictions.ltrb.scales"


def convert(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under this project's names.

    Args:
        state: of the heads of the authors' code or of gluon-cv.

    Raises:
        ValueError: a name belongs to neither; the message shows some.
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
    for pattern, ours in _NAMES:
        if match := pattern.match(name):
            return f"{match.expand(ours)}.{match.group(pattern.groups)}"
    return None
