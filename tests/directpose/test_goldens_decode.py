"""The detections of DirectPose, against those of its two official codes for the same features and weights."""

from pathlib import Path

import pytest
import torch
from detectron2.structures import ImageList
from helpers.directpose_oracle import LEVELS, filled, head_inputs
from helpers.oracles import arrays
from torch import nn
from torch.testing import assert_close

from directpose import DirectPose
from posecore.modeling.fcos.detector import InferenceSettings

SIZE = (256, 320)
# For the paper's official code and gluon-cv's: configuration, manifest, stored arrays, their NMS thresholds,
# and the function from our score to the official one (gluon-cv takes the square root).
CASES = {
    "paper": (
        "official/R_50.yaml",
        "manifest_authors.json",
        "kpalign_authors/decode.npz",
        (0.4, 0.5),
        lambda score: score,
    ),
    "gluon": (
        "official/R_50_gluon.yaml",
        "manifest_gluon_paperlike.json",
        "kpalign_gluon/paperlike_decode.npz",
        (0.5, 0.6),
        torch.sqrt,
    ),
}


class GivenFeatures(nn.Module):
    """A backbone that returns the same maps for every image."""

    def __init__(self, features: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.features


def detect(model: DirectPose, nms_thresh: float) -> object:
    model.detector.inference_settings = InferenceSettings(nms_thresh=nms_thresh)
    return model.predict(ImageList(torch.zeros(1, 3, *SIZE), [SIZE]))[0]


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_candidates_and_detections(shared: Path, case: str) -> None:
    config, manifest, stored, thresholds, score_of = CASES[case]
    golden = arrays(shared / "oracles/directpose" / stored)
    model = filled(shared, config, manifest)
    model.backbone = GivenFeatures(head_inputs(shared))

    # An IoU is at most 1, so all candidates are kept, best first.
    candidates = detect(model, nms_thresh=1.0)
    assert_close(score_of(candidates.scores[:20]), golden["top20_score"], atol=1e-5, rtol=0)
    keypoints = golden["top20_keypoints"][..., :2]
    assert_close(candidates.pred_keypoints[:20, :, :2], keypoints, atol=5e-3, rtol=0)

    for threshold in thresholds:
        name = f"nms{int(threshold * 10):02d}"
        detections = detect(model, nms_thresh=threshold)
        assert len(detections) == min(int(golden[f"{name}_count"]), 100)
        assert_close(score_of(detections.scores[:20]), golden[f"{name}_score"], atol=1e-5, rtol=0)
        assert_close(
            detections.pred_keypoints[:20, :, :2], golden[f"{name}_keypoints"][..., :2], atol=5e-3, rtol=0
        )
    assert len(LEVELS) == len(model.detector.in_features)
