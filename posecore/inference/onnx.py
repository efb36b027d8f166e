"""Runs an exported model without PyTorch and Detectron2: :class:`OnnxPredictor`.

It needs numpy, OpenCV and ONNX Runtime, or OpenVINO in place of the last, and imports nothing of this project
that needs more. ``tools/export.py`` writes the model and the description beside it, from which the predictor
takes how images are prepared.

Letters: H and W height and width of an image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posecore.inference.onnx_description import DESCRIPTION_VERSION, Description, description_file
from posecore.inference.onnx_inputs import CropInput, ImageInput, channels_first
from posecore.inference.onnx_poses import DetectedBoxes, Poses, ScoredBoxes, oks_nms
from posecore.inference.onnx_sessions import (
    OPENVINO_PRECISIONS,
    SESSIONS,
    Backend,
    OnnxRuntimeSession,
    OpenVINOPrecision,
    OpenVINOSession,
    RuntimePrecision,
    Session,
)

__all__ = [
    "DESCRIPTION_VERSION",
    "OPENVINO_PRECISIONS",
    "SESSIONS",
    "Backend",
    "CropInput",
    "Description",
    "DetectedBoxes",
    "ImageInput",
    "OnnxPredictor",
    "OnnxRuntimeSession",
    "OpenVINOPrecision",
    "OpenVINOSession",
    "Poses",
    "RuntimePrecision",
    "ScoredBoxes",
    "Session",
    "channels_first",
    "description_file",
    "oks_nms",
]


class OnnxPredictor:
    """Turns images into poses by an exported model, as :class:`posecore.inference.predictor.Predictor` does.

    Args:
        description: of the model.
        session: the model in a runtime.
        detector: finds the persons for a top-down model; None where boxes are given with the images, or not
            needed.

    Example::

        predictor = OnnxPredictor.from_file("fcpose.onnx")
        poses = predictor(image)  # (H, W, 3) uint8 RGB
        poses.pred_keypoints, poses.scores
    """

    def __init__(
        self, description: Description, session: Session, detector: "OnnxPredictor | None" = None
    ) -> None:
        self.description = description
        self.session = session
        self.detector = detector

    @classmethod
    def from_file(
        cls,
        file: str | Path,
        *,
        backend: Backend = "onnxruntime",
        threads: int | None = None,
        precision: RuntimePrecision = "float32",
        detector: "OnnxPredictor | None" = None,
    ) -> "OnnxPredictor":
        """The model of a file that tools/export.py wrote.

        Args:
            file: the ONNX model; its description lies beside it.
            backend: the runtime that computes it.
            threads: on the CPU; None for the runtime's choice.
            precision: that the runtime computes the float32 parts of the model in.
            detector: as for the class.

        Raises:
            FileNotFoundError, ValueError: a file is missing or cannot be used, the backend or the precision
                is unknown, or the two do not go together.
            ImportError: the runtime is not installed.
        """
        file = Path(file)
        if backend not in SESSIONS:
            raise ValueError(f"the backend must be one of {', '.join(SESSIONS)}, not {backend!r}")
        if precision not in OPENVINO_PRECISIONS:
            raise ValueError(
                f"the precision of the runtime must be one of {', '.join(OPENVINO_PRECISIONS)}, "
                f"not {precision!r}"
            )
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: it must be a model that tools/export.py wrote")
        description = Description.read(description_file(file))
        return cls(description, SESSIONS[backend](file, threads, precision), detector)

    @property
    def needs_boxes(self) -> bool:
        """Whether the model looks at one person at a time, so that boxes or a detector must be given."""
        return isinstance(self.description.prepare, CropInput)

    def __call__(self, image: np.ndarray, boxes: ScoredBoxes | None = None) -> Poses:
        """The poses of one image, in its pixels.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes: the persons of the image, for a top-down model; None to detect them.

        Raises:
            ValueError: a top-down model has neither boxes nor a detector, or the image is no such array.
        """
        return self.batch([image], None if boxes is None else [boxes])[0]

    def batch(self, images: Sequence[np.ndarray], boxes: Sequence[ScoredBoxes] | None = None) -> list[Poses]:
        """The poses of several images, which may differ in size; otherwise as for one image."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(
                    f"an image must be a (H, W, 3) array of uint8, not {image.shape} of {image.dtype}"
                )
        prepare = self.description.prepare
        if isinstance(prepare, ImageInput):
            return self.run([prepare.sample(image) for image in images])
        if boxes is None:
            boxes = self._detect(images)
        return self.run([prepare.sample(*pair) for pair in zip(images, boxes, strict=True)])

    def run(self, samples: Sequence[Mapping[str, Any]]) -> list[Poses]:
        """The poses of samples as ``sample`` of the description's input makes them, one for each image."""
        if not samples:
            return []
        prepare = self.description.prepare
        inputs = prepare.inputs(samples)
        if isinstance(prepare, CropInput) and not len(inputs["crops"]):
            return prepare.poses(prepare.no_outputs(), samples)
        return prepare.poses(self.session.run(inputs), samples)

    def _detect(self, images: Sequence[np.ndarray]) -> list[DetectedBoxes]:
        if self.detector is None:
            raise ValueError(
                "this model looks at one person at a time: give the boxes of the persons, or a detector"
            )
        persons = (poses[poses.pred_classes == 0] for poses in self.detector.batch(images))
        return [
            DetectedBoxes(poses.pred_boxes.astype(np.float64), poses.scores.astype(np.float64))
            for poses in persons
        ]
