"""Runs a trained model on images (:class:`Predictor`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import nn

from posecore.checkpoint.checkpointer import PoseCheckpointer, weight_choice
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.data.images import MAX_PIXELS, pixel_limit
from posecore.data.person_boxes import PersonBoxes
from posecore.data.samples import Samples, build_samples
from posecore.layers.precision import autocast_to
from posecore.modeling.build import build_inference_model, inference_precision
from posecore.modeling.tta import with_tta
from posecore.structures.skeleton import Skeleton


class PosePredictor(Protocol):
    """What predictions on files and videos need of a model, be it one of PyTorch or an exported one."""

    max_pixels: int

    @property
    def skeleton(self) -> Skeleton:
        """Of the poses."""

    @property
    def needs_boxes(self) -> bool:
        """Whether the model looks at one person at a time."""

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """The model's input of an image (H, W, 3) uint8 RGB, with the boxes of its persons where needed."""

    def of_samples(self, samples: Sequence[dict[str, Any]]) -> list[Instances]:
        """The poses of images whose inputs were made by :meth:`sample`; on the CPU."""

    def batch(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """The poses of images, whose persons the predictor detects where the model needs them."""


class Predictor:
    """Turns images into poses.

    Args:
        model: any :class:`~posecore.modeling.estimator.PoseEstimator`, with its test-time augmentation
            (:class:`~posecore.modeling.tta.PoseEstimatorWithTTA`) or without; put into evaluation mode.
        samples: makes the model's inputs of images.
        detector: finds the persons (class 0) for a top-down model; it need not find poses. None where boxes
            are given with the images, or not needed.
        max_pixels: INPUT.MAX_PIXELS, for those that read images to predict.
        precision: half-precision type that the networks compute in; None for float32.

    Example::

        cfg = get_cfg()
        cfg.merge_from_file("configs/directpose/R_50_25ep.yaml")
        cfg.MODEL.WEIGHTS = "model_final.pth"
        poses = Predictor.from_config(cfg)(image)  # (H, W, 3) uint8 RGB
        poses.pred_keypoints, poses.scores
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        detector: PosePredictor | None = None,
        max_pixels: int = MAX_PIXELS,
        precision: torch.dtype | None = None,
    ) -> None:
        self.model = model.eval()
        self.samples = samples
        self.detector = detector
        self.max_pixels = max_pixels
        self.precision = precision

    @classmethod
    def from_config(cls, cfg: CfgNode, detector: PosePredictor | None = None) -> "Predictor":
        """The model of ``cfg`` with MODEL.WEIGHTS, TEST.PRECISION, and the augmentation of TEST.AUG.

        Raises:
            CheckpointError: the weights do not fit the model.
            ValueError: as :func:`~posecore.modeling.build.build_model`.
        """
        model = build_inference_model(cfg)
        precision = inference_precision(cfg)
        PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS, weights=weight_choice(cfg))
        cfg, model = with_tta(cfg, model)
        return cls(model, build_samples(cfg), detector, pixel_limit(cfg), precision)

    @property
    def skeleton(self) -> Skeleton:
        """Of the poses; a detector of Detectron2 has none."""
        skeleton = self.model.skeleton
        assert isinstance(skeleton, Skeleton)
        return skeleton

    @property
    def needs_boxes(self) -> bool:
        """Whether the model looks at one person at a time, so that boxes or a detector must be given."""
        return self.samples.needs_boxes

    def __call__(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> Instances:
        """The poses of one image, in its pixels; on the CPU.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: the persons of the image, for a top-down model; None to detect them.

        Raises:
            ValueError: a top-down model has neither boxes nor a detector.
        """
        return self.batch([image], None if boxes is None else [boxes])[0]

    def batch(
        self, images: Sequence[np.ndarray], boxes: Sequence[PersonBoxes] | None = None
    ) -> list[Instances]:
        """The poses of several images, which may differ in size; otherwise as for one image."""
        if boxes is None and self.needs_boxes:
            boxes = self._detect(images)
        people = [None] * len(images) if boxes is None else boxes
        return self.of_samples([self.sample(*pair) for pair in zip(images, people, strict=True)])

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """The model's input of an image, for :meth:`of_samples`; another thread may make it meanwhile.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: the persons of the image, for a top-down model.

        Raises:
            ValueError: the image is too small or too thin for the model.
        """
        return self.samples.sample(image, boxes)

    @torch.no_grad()
    def of_samples(self, samples: Sequence[dict[str, Any]]) -> list[Instances]:
        """The poses of images whose inputs were made by :meth:`sample`; on the CPU."""
        with autocast_to(self.precision, self.model):
            results = self.model(list(samples))
        return [result["instances"].to("cpu") for result in results]

    def _detect(self, images: Sequence[np.ndarray]) -> list[PersonBoxes]:
        if self.detector is None:
            raise ValueError(
                "this model looks at one person at a time: give the boxes of the persons, or a detector"
            )
        return [PersonBoxes.from_instances(found) for found in self.detector.batch(images)]


def load_predictor(config_file: str | Path, weights: str, device: str) -> Predictor:
    """Builds the model of a configuration file and loads its weights.

    Args:
        config_file: of any model of this project or of Detectron2.
        weights: as MODEL.WEIGHTS can be.
        device: where the model runs, as MODEL.DEVICE can be.

    Raises:
        UsageError: the file is missing or no configuration.
        CheckpointError: there are no weights, or they do not fit the model.
        ValueError: as :func:`~posecore.modeling.build.build_model`.
    """
    require_weights(weights)
    overrides = ["MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", device]
    return Predictor.from_config(merge_config(get_cfg(), config_file, overrides))
