"""The parameter names of the two published implementations, and what they are called here.

Only their heads are known (the authors' code inside a fork, and gluon-cv's without visibilities, with
or without boxes); both stand on an anti-aliased ResNet whose names are not.
"""

import re

import torch
from torch import Tensor

# Prefix of an implementation -> (pattern behind the prefix, name here); the first that fits counts.
_AUTHORS = (
    (r"rpn\.head\.cls_tower\.(\d+)", r"head.towers.cls.\1"),
    (r"rpn\.head\.kps_tower\.(\d+)", r"head.towers.keypoint.\1"),
    (r"rpn\.head\.kps_bases", r"keypoints.locator"),
    (r"rpn\.head\.sample_features_conv\.(\d+)", r"keypoints.sampler.\1"),
    (r"rpn\.head\.kps_offsets\.(\d+)\.kps_offsets", r"keypoints.predictors.\1"),
    (r"rpn\.head\.cls_logits", r"head.predictors.cls.conv"),
    (r"rpn\.head\.centerness", r"head.predictors.centerness.conv"),
    (r"heatmaps\.deeplab\.seg_head\.(\d+)", r"heatmap.tower.\1"),
    (r"heatmaps\.deeplab\.heatmaps", r"heatmap.predictor"),
)
_GLUON_HEAD = r"proposal_generator\.directpose_head\."
_GLUON = (
    (_GLUON_HEAD + r"cls_tower\.(\d+)", r"head.towers.cls.\1"),
    (_GLUON_HEAD + r"kpt_tower\.(\d+)", r"head.towers.keypoint.\1"),
    (_GLUON_HEAD + r"bbox_tower\.(\d+)", r"head.towers.box.\1"),
    (_GLUON_HEAD + r"locator", r"keypoints.locator"),
    (_GLUON_HEAD + r"sampler\.(\d+)", r"keypoints.sampler.\1"),
    (_GLUON_HEAD + r"predictor\.(\d+)\.kpt_predictor", r"keypoints.predictors.\1"),
    (_GLUON_HEAD + r"cls_logits", r"head.predictors.cls.conv"),
    (_GLUON_HEAD + r"ctrness", r"head.predictors.centerness.conv"),
    (_GLUON_HEAD + r"bbox_pred", r"head.predictors.ltrb.conv"),
    (_GLUON_HEAD + r"hm_tower\.(\d+)", r"heatmap.tower.\1"),
    (_GLUON_HEAD + r"hm_pred", r"heatmap.predictor"),
)
_NAMES = [(re.compile(theirs + r"\.(\w+)$"), ours) for theirs, ours in _AUTHORS + _GLUON]
# gluon-cv keeps one factor per level, each a parameter of its own; here they are one vector.
_SCALE = re.compile(_GLUON_HEAD + r"scales\.(\d+)\.scale$")
_SCALES = "head.predictors.ltrb.scales"


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
