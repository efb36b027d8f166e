"""Runs a trained model on images (:class:`Predictor`)."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.data.person_boxes import PersonBoxes
from posecore.data.samples import Samples, build_samples
from posecore.modeling.tta import with_tta


class Predictor:
    """Turns images into poses.

    Args:
        model: any :class:`~posecore.modeling.estimator.PoseEstimator`, with its test-time augmentation
            (:class:`~posecore.modeling.tta.PoseEstimatorWithTTA`) or without; put into evaluation mode.
        samples: makes the model's inputs of images.
        detector: finds the persons (class 0) for a model that looks at one at a time; it need not find
            poses. None where boxes are given with the images, or not needed.

    Example::

        cfg = get_cfg()
        cfg.merge_from_file("configs/directpose/R_50_25ep.yaml")
        cfg.MODEL.WEIGHTS = "model_final.pth"
        poses = Predictor.from_config(cfg)(image)  # (H, W, 3) uint8 RGB
        poses.pred_keypoints, poses.scores
    """

    def __init__(self, model: nn.Module, samples: Samples, detector: "Predictor | None" = None) -> None:
        self.model = model.eval()
        self.samples = samples
        self.detector = detector

    @classmethod
    def from_config(cls, cfg: CfgNode, detector: "Predictor | None" = None) -> "Predictor":
        """The model of ``cfg`` with the weights of MODEL.WEIGHTS, used as its evaluation would."""
        model = build_model(cfg)
        PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        cfg, model = with_tta(cfg, model)
        return cls(model, build_samples(cfg), detector)

    def __call__(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> Instances:
        """The poses of one (H, W, 3) uint8 RGB image, in its pixels; on the CPU.

        Args:
            boxes: its persons, for a model that looks at one at a time; None to have them detected.

        Raises:
            ValueError: such a model has neither boxes nor a detector.
        """
        return self.batch([image], None if boxes is None else [boxes])[0]

    @torch.no_grad()
    def batch(
        self, images: Sequence[np.ndarray], boxes: Sequence[PersonBoxes] | None = None
    ) -> list[Instances]:
        """The same for several images at once; they may differ in size."""
        if boxes is None and self.samples.needs_boxes:
            boxes = self._detect(images)
        people = [None] * len(images) if boxes is None else boxes
        results = self.model([self.samples.sample(*pair) for pair in zip(images, people, strict=True)])
        return [result["instances"].to("cpu") for result in results]

    def _detect(self, images: Sequence[np.ndarray]) -> list[PersonBoxes]:
        if self.detector is None:
            raise ValueError(
                "this model looks at one person at a time: give their boxes, or a detector that finds them"
            )
        return [PersonBoxes.from_instances(found) for found in self.detector.batch(images)]
