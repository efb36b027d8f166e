"""The exported form of Poseur: :class:`PoseurGraph`.

Letters: N crops, K keypoints, h and w height and width of a crop.
"""

from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.export.graph import CropGraph, Outputs, export_graph
from poseur.poseur import Poseur
from poseur.samples import PersonCropSamples


@export_graph(Poseur)
class PoseurGraph(CropGraph):
    """Poseur on crops, with the flip test where the model has one; suppression is in the runtime."""

    model: Poseur

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module, outputs: Outputs) -> "PoseurGraph":
        height, width = cfg.INPUT.CROPS.SIZE
        return cls(model, outputs, size=(height, width))

    def input_description(self, cfg: CfgNode) -> dict[str, Any]:
        samples = PersonCropSamples.from_config(cfg)
        return {
            "kind": "crops",
            "size": list(samples.geometry.size),
            "padding": samples.geometry.padding,
            "first_pixel": samples.geometry.first_pixel,
            "channels": samples.image_format,
            "min_score": samples.min_score,
            "oks_nms_thresh": self.model.inference_settings.oks_nms_thresh,
        }

    def poses(self, crops: Tensor, box_scores: Tensor) -> dict[str, Tensor]:
        """``keypoints`` (N, K, 3), x and y in pixels of the crop and confidence, and ``scores`` (N,)."""
        scored = self.model.scored_keypoints(crops)
        points = scored.points * scored.points.new_tensor(self.size[::-1])
        return {
            "keypoints": torch.cat([points, scored.scores[..., None]], dim=-1),
            "scores": self.model.inference_settings.scores.instance(box_scores, scored.scores),
        }

    def raw(self, crops: Tensor, box_scores: Tensor) -> dict[str, Tensor]:
        """``points`` and ``scales`` (N, K, 2) of the last stage, shares of the crop, without a flip test."""
        prediction = self.model.predictions(crops).result
        return {"points": prediction.points, "scales": prediction.scales}
