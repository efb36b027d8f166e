"""Runs an exported ONNX model in the place of a PyTorch model: :class:`ExportedPredictor`.

:class:`posecore.inference.onnx.OnnxPredictor` does the work and needs no PyTorch. This class gives it the
interface that predictions on files and videos have (:class:`posecore.inference.predictor.PosePredictor`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.config.options import choice
from posecore.data.images import MAX_PIXELS, pixel_limit
from posecore.data.person_boxes import PersonBoxes
from posecore.inference.onnx import (
    OPENVINO_PRECISIONS,
    Backend,
    ImageInput,
    OnnxPredictor,
    Poses,
    RuntimePrecision,
)
from posecore.inference.predictor import PosePredictor
from posecore.structures.skeleton import Skeleton

ENDING = ".onnx"
# The keys that an exported model leaves open.
KEYS = ("MODEL.WEIGHTS", "MODEL.DEVICE", "TEST.PRECISION", "INPUT.MAX_PIXELS")
_PRECISIONS: dict[str, RuntimePrecision] = {name: name for name in OPENVINO_PRECISIONS}  # type: ignore[misc]


@dataclass(frozen=True)
class RuntimeSettings:
    """Where exported models run.

    Attributes:
        backend: the runtime.
        threads: on the CPU; None for the runtime's choice.
    """

    backend: Backend = "onnxruntime"
    threads: int | None = None


def is_exported(weights: str) -> bool:
    """Whether a value of MODEL.WEIGHTS is an exported ONNX model."""
    return Path(weights).suffix.lower() == ENDING


class ExportedPredictor:
    """An exported model with the interface of a :class:`posecore.inference.predictor.Predictor`.

    Args:
        exported: the model and its description.
        detector: finds the persons for a top-down model; None where boxes are given, or not needed.
        max_pixels: INPUT.MAX_PIXELS, for those that read images to predict.

    Raises:
        ValueError: the skeleton of the description contradicts itself.
    """

    def __init__(
        self,
        exported: OnnxPredictor,
        detector: PosePredictor | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.exported = exported
        self.detector = detector
        self.max_pixels = max_pixels
        self.skeleton = described_skeleton(exported.description.rest["skeleton"])

    @classmethod
    def from_overrides(
        cls, overrides: Sequence[str], runtime: RuntimeSettings, detector: PosePredictor | None = None
    ) -> "ExportedPredictor":
        """The model that MODEL.WEIGHTS names; TEST.PRECISION is the precision that the runtime computes in.

        Args:
            overrides: KEY VALUE pairs, flat, of :data:`KEYS` alone.
            runtime: where it runs.
            detector: as for the class.

        Raises:
            UsageError: a key is another one, or MODEL.DEVICE is no CPU.
            FileNotFoundError, ValueError, ImportError: as :meth:`OnnxPredictor.from_file`.
        """
        cfg = merge_config(get_cfg(), "", overrides)
        file = cfg.MODEL.WEIGHTS
        if others := [key for key in overrides[::2] if key not in KEYS]:
            raise UsageError(
                f"{others[0]} cannot be changed in the exported model {file}, which has its settings in it: "
                f"the keys must be of {', '.join(KEYS)}"
            )
        if "MODEL.DEVICE" in overrides[::2] and cfg.MODEL.DEVICE != "cpu":
            raise UsageError(
                f"MODEL.DEVICE must be cpu for the exported model {file}, not {cfg.MODEL.DEVICE!r}: the "
                "runtime chooses the device"
            )
        exported = OnnxPredictor.from_file(
            file,
            backend=runtime.backend,
            threads=runtime.threads,
            precision=choice(cfg, "TEST.PRECISION", _PRECISIONS),
        )
        return cls(exported, detector, pixel_limit(cfg))

    @property
    def needs_boxes(self) -> bool:
        """Whether the model looks at one person at a time."""
        return self.exported.needs_boxes

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """The model's input of an image (H, W, 3) uint8 RGB; ``boxes`` are its persons, where needed.

        Raises:
            ValueError: the image is too small or too thin for the model, or boxes are lacking.
        """
        prepare = self.exported.description.prepare
        if isinstance(prepare, ImageInput):
            return prepare.sample(image)
        if boxes is None:
            raise ValueError("this model looks at one person at a time: give the boxes of the persons")
        return prepare.sample(image, boxes)

    def of_samples(self, samples: Sequence[Mapping[str, Any]]) -> list[Instances]:
        """The poses of images whose inputs were made by :meth:`sample`.

        Raises:
            ValueError: the runtime cannot compute them.
        """
        return [to_instances(poses) for poses in self.exported.run(samples)]

    def batch(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """The poses of several images, whose persons the detector finds where the model needs them.

        Raises:
            ValueError: a top-down model has no detector, or as :meth:`of_samples`.
        """
        if not self.needs_boxes:
            return self.of_samples([self.sample(image) for image in images])
        if self.detector is None:
            raise ValueError("this model looks at one person at a time: give boxes or a detector")
        found = self.detector.batch(images)
        people = [PersonBoxes.from_instances(instances) for instances in found]
        return self.of_samples([self.sample(*pair) for pair in zip(images, people, strict=True)])


def described_skeleton(content: Mapping[str, Any]) -> Skeleton:
    """The skeleton in the description of an exported model.

    Raises:
        ValueError: it contradicts itself.
    """
    return Skeleton(
        name=content["name"],
        keypoints=tuple(content["keypoints"]),
        flip_pairs=tuple((left, right) for left, right in content["flip_pairs"]),
        limbs=tuple((a, b) for a, b in content["limbs"]),
        sigmas=tuple(content["sigmas"]),
    )


def to_instances(poses: Poses) -> Instances:
    """The same detections as Detectron2 has them."""
    return Instances(
        poses.image_size,
        pred_boxes=Boxes(torch.from_numpy(poses.pred_boxes)),
        scores=torch.from_numpy(poses.scores),
        pred_classes=torch.from_numpy(poses.pred_classes),
        pred_keypoints=torch.from_numpy(poses.pred_keypoints),
    )
