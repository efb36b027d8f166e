"""Runs an exported model without PyTorch and Detectron2: :class:`OnnxPredictor`.

It needs numpy, OpenCV and ONNX Runtime, or OpenVINO in place of the last, and imports nothing of this project
that needs more. ``tools/export.py`` writes the model and the description beside it, from which the predictor
takes how images are prepared.

Letters: N images or crops, M persons, K keypoints, H and W height and width, h and w those of a crop.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from posecore.inference.half_network import divide
from posecore.inference.resize import resize_bilinear, resized_size
from posecore.structures.crops import CropGeometry, usable_boxes

# The layout of the description; a reader refuses those that it does not know.
DESCRIPTION_VERSION = 1

Backend = Literal["onnxruntime", "openvino"]
# The type that a runtime computes the float32 parts of a model in.
RuntimePrecision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Poses:
    """The M detections of one image, in its pixels; the fields have the names of Detectron2's ``Instances``.

    Attributes:
        image_size: (height, width) of the image.
        pred_boxes: (M, 4) float32, (x1, y1, x2, y2).
        scores: (M,) float32.
        pred_classes: (M,) int64, 0 for a person.
        pred_keypoints: (M, K, 3) float32, x, y and confidence.
    """

    image_size: tuple[int, int]
    pred_boxes: np.ndarray
    scores: np.ndarray
    pred_classes: np.ndarray
    pred_keypoints: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: np.ndarray | slice) -> "Poses":
        return Poses(
            self.image_size,
            self.pred_boxes[rows],
            self.scores[rows],
            self.pred_classes[rows],
            self.pred_keypoints[rows],
        )


class ScoredBoxes(Protocol):
    """The boxes of the M persons of an image, as :class:`posecore.data.person_boxes.PersonBoxes` has them."""

    @property
    def boxes(self) -> np.ndarray:
        """(M, 4) corners in continuous pixels."""

    @property
    def scores(self) -> np.ndarray:
        """(M,)."""


@dataclass(frozen=True)
class DetectedBoxes:
    """The boxes of the M persons of an image.

    Attributes:
        boxes: (M, 4) corners in continuous pixels.
        scores: (M,).
    """

    boxes: np.ndarray
    scores: np.ndarray


class Session(Protocol):
    """A model in one of the runtimes."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, from the inputs by name.

        Raises:
            ValueError: the runtime cannot compute these inputs, such as images that are too small.
        """


def _shapes(inputs: Mapping[str, np.ndarray]) -> str:
    """The names and shapes of inputs, for messages."""
    return ", ".join(f"{name} of {value.shape}" for name, value in inputs.items())


class OnnxRuntimeSession:
    """A model in ONNX Runtime.

    Args:
        file: the ONNX model.
        threads: on the CPU; None for ONNX Runtime's choice.
        precision: "float32", because ONNX Runtime computes every part of a model as the file has it.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the file is no ONNX model, or the precision is another one.
    """

    def __init__(
        self, file: Path, threads: int | None = None, precision: RuntimePrecision = "float32"
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("ONNX Runtime is not installed: pip install onnxruntime") from error
        if precision != "float32":
            raise ValueError(
                "ONNX Runtime computes a model as the file has it: the precision of the runtime must be "
                f"'float32', not {precision!r}, or the backend 'openvino'"
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(
                str(file), options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # the exceptions of ONNX Runtime have no common base
            raise ValueError(f"{file}: ONNX Runtime cannot read this model: {error}") from error
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            results = self.session.run(self.names, dict(inputs))
        except Exception as error:  # as above
            raise ValueError(f"ONNX Runtime cannot compute {_shapes(inputs)}: {error}") from error
        return dict(zip(self.names, results, strict=True))


@dataclass(frozen=True)
class OpenVINOPrecision:
    """A precision by the names of OpenVINO.

    Attributes:
        hint: value of INFERENCE_PRECISION_HINT.
        capability: what the device must list to have it.
    """

    hint: str
    capability: str


OPENVINO_PRECISIONS: dict[str, OpenVINOPrecision] = {
    "float32": OpenVINOPrecision("f32", "FP32"),
    "bfloat16": OpenVINOPrecision("bf16", "BF16"),
    "float16": OpenVINOPrecision("f16", "FP16"),
}


class OpenVINOSession:
    """A model in OpenVINO, on the CPU.

    Args:
        file: the ONNX model.
        threads: None for OpenVINO's choice.
        precision: of the network, up to the last convolutions, where it is float32 in the file
            (:mod:`posecore.inference.half_network`). The half precisions need a processor that computes in
            them. Parts that are int8 stay int8.

    Raises:
        ImportError: OpenVINO is not installed.
        ValueError: the file is no ONNX model, or the processor lacks the precision.
    """

    def __init__(
        self, file: Path, threads: int | None = None, precision: RuntimePrecision = "float32"
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ImportError("OpenVINO is not installed: pip install openvino") from error
        core, chosen = openvino.Core(), OPENVINO_PRECISIONS[precision]
        # OpenVINO would compute in float32 without a word.
        if chosen.capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError(
                f"this processor does not compute in {precision}: the precision of the runtime must be "
                "'float32'"
            )
        try:
            model = core.read_model(str(file))
            # A compiled model has other names of the same tensors too.
            self.names = [output.get_any_name() for output in model.outputs]
            parts = divide(model) if precision != "float32" else None

            def compiled(part: Any, hint: str) -> Any:
                # Without the hint OpenVINO computes in bfloat16 where the processor can.
                settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint}
                if threads is not None:
                    settings["INFERENCE_NUM_THREADS"] = threads
                return core.compile_model(part, "CPU", settings).create_infer_request()

            self.network = None if parts is None else compiled(parts.network, chosen.hint)
            self.rest = compiled(model if parts is None else parts.rest, OPENVINO_PRECISIONS["float32"].hint)
        except RuntimeError as error:
            raise ValueError(f"{file}: OpenVINO cannot read this model: {error}") from error

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            given: dict[Any, Any] = dict(inputs)
            if self.network is not None:
                self.network.infer(given)
                # The maps are inputs without names, behind those of the model.
                for index, tensor in enumerate(self.network.output_tensors):
                    given[len(inputs) + index] = tensor
            results = self.rest.infer(given)
        except RuntimeError as error:
            raise ValueError(f"OpenVINO cannot compute {_shapes(inputs)}: {error}") from error
        return {name: np.array(results[name]) for name in self.names}


SESSIONS: dict[str, type[OnnxRuntimeSession] | type[OpenVINOSession]] = {
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVINOSession,
}


@dataclass(frozen=True)
class ImageInput:
    """How whole images are prepared for a model, and its poses are brought back to them.

    Normalizing is in the model.

    Attributes:
        min_size: pixels of the shorter side after the resize, INPUT.MIN_SIZE_TEST; 0 for no resize.
        max_size: the most pixels of the longer side.
        rounding: how the longer side is rounded, INPUT.RESIZE_ROUNDING.
        channels: order of the channels that the model takes, "BGR" or "RGB".
        divisibility: number that height and width of a batch must be multiples of.
        shift: pixels of the original image that keypoints are moved right and down by in the end.
    """

    min_size: int
    max_size: int
    rounding: Literal["nearest", "down"]
    channels: Literal["BGR", "RGB"]
    divisibility: int
    shift: float = 0.0

    def sample(self, image: np.ndarray) -> dict[str, Any]:
        """(H, W, 3) uint8 RGB -> the resized ``image`` (3, H', W'), and ``height`` and ``width``.

        Raises:
            ValueError: the resize would leave no pixels of the image.
        """
        height, width = image.shape[:2]
        size = resized_size((height, width), self.min_size, self.max_size, self.rounding)
        if min(size) < 1:
            raise ValueError(
                f"an image of {width} x {height} pixels is too thin: resized it would have "
                f"{size[1]} x {size[0]}"
            )
        return {
            "image": channels_first(resize_bilinear(image, size), self.channels),
            "height": height,
            "width": width,
        }

    def inputs(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The samples of N images -> the model's ``images`` (N, 3, H, W) uint8 and ``sizes`` (N, 2) int64.

        Images are padded to a common size at the right and bottom; ``sizes`` are height and width before.
        """
        sizes = np.array([sample["image"].shape[1:] for sample in samples], dtype=np.int64)
        height, width = -(-sizes.max(axis=0) // self.divisibility) * self.divisibility
        images = np.zeros((len(samples), 3, height, width), dtype=np.uint8)
        for padded, sample in zip(images, samples, strict=True):
            own = sample["image"]
            padded[:, : own.shape[1], : own.shape[2]] = own
        return {"images": images, "sizes": sizes}

    def poses(self, outputs: Mapping[str, np.ndarray], samples: Sequence[Mapping[str, Any]]) -> list[Poses]:
        """The poses of N images, from the outputs of the model for their samples."""
        results = []
        for index, sample in enumerate(samples):
            rows = outputs["valid"][index]
            size = sample["image"].shape[1:]
            original = sample.get("height", size[0]), sample.get("width", size[1])
            factors = np.array([original[1] / size[1], original[0] / size[0]], dtype=np.float32)
            keypoints = outputs["keypoints"][index][rows].astype(np.float32)
            keypoints[..., :2] = keypoints[..., :2] * factors + np.float32(self.shift)
            limits = np.array([*original[::-1], *original[::-1]], dtype=np.float32)
            boxes = (outputs["boxes"][index][rows] * np.tile(factors, 2)).clip(0, limits)
            results.append(
                Poses(
                    (int(original[0]), int(original[1])),
                    boxes,
                    outputs["scores"][index][rows],
                    outputs["classes"][index][rows],
                    keypoints,
                )
            )
        return results


@dataclass(frozen=True)
class CropInput:
    """How crops of persons are cut for a model, and its poses are brought back to the image.

    Attributes:
        geometry: how crops are cut.
        channels: order of the channels that the model takes, "BGR" or "RGB".
        min_score: boxes with a lower score are not cut out.
        sigmas: (K,) of the skeleton.
        oks_nms_thresh: OKS above which the pose with the lower score is removed; from 1 on none is.
    """

    geometry: CropGeometry
    channels: Literal["BGR", "RGB"]
    min_score: float
    sigmas: tuple[float, ...]
    oks_nms_thresh: float

    def sample(self, image: np.ndarray, boxes: ScoredBoxes) -> dict[str, Any]:
        """The crops of an image (H, W, 3) uint8 RGB.

        Returns:
            ``crops`` (M, 3, h, w) uint8, ``crop_to_image`` (M, 2, 3), ``boxes`` (M, 4), ``box_scores`` (M,),
            ``height`` and ``width``.
        """
        kept = usable_boxes(boxes.boxes, boxes.scores, self.min_score)
        regions = [self.geometry.region(box) for box in boxes.boxes[kept]]
        crops = [channels_first(self.geometry.cut(image, region), self.channels) for region in regions]
        affines = [self.geometry.crop_to_image(region) for region in regions]
        return {
            "crops": np.array(crops, dtype=np.uint8).reshape(-1, 3, *self.geometry.size),
            "crop_to_image": np.array(affines, dtype=np.float32).reshape(-1, 2, 3),
            "boxes": boxes.boxes[kept].astype(np.float32),
            "box_scores": boxes.scores[kept].astype(np.float32),
            "height": image.shape[0],
            "width": image.shape[1],
        }

    def inputs(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The samples of images -> the model's ``crops`` (M, 3, h, w) and ``box_scores`` (M,) of all."""
        return {
            "crops": np.concatenate([sample["crops"] for sample in samples]),
            "box_scores": np.concatenate([sample["box_scores"] for sample in samples]),
        }

    def no_outputs(self) -> dict[str, np.ndarray]:
        """The outputs of the model for no crop, which runtimes need not be able to compute."""
        keypoints = np.zeros((0, len(self.sigmas), 3), dtype=np.float32)
        return {"keypoints": keypoints, "scores": np.zeros(0, dtype=np.float32)}

    def poses(self, outputs: Mapping[str, np.ndarray], samples: Sequence[Mapping[str, Any]]) -> list[Poses]:
        """The poses of each image, best first, without duplicates."""
        ends = np.cumsum([len(sample["crops"]) for sample in samples])
        parts = zip(
            np.split(outputs["keypoints"], ends[:-1]), np.split(outputs["scores"], ends[:-1]), strict=True
        )
        return [
            self._in_image(keypoints, scores, sample)
            for (keypoints, scores), sample in zip(parts, samples, strict=True)
        ]

    def _in_image(self, keypoints: np.ndarray, scores: np.ndarray, sample: Mapping[str, Any]) -> Poses:
        """The poses of one image from keypoints (M, K, 3) in crops and scores (M,)."""
        linear, shift = sample["crop_to_image"][:, :, :2], sample["crop_to_image"][:, :, 2]
        points = keypoints[..., :2] @ linear.transpose(0, 2, 1) + shift[:, None]
        areas = np.abs(np.linalg.det(linear)) * math.prod(self.geometry.size)
        kept = oks_nms(points, scores, areas, np.array(self.sigmas), self.oks_nms_thresh)
        return Poses(
            (int(sample["height"]), int(sample["width"])),
            sample["boxes"][kept],
            scores[kept],
            np.zeros(len(kept), dtype=np.int64),
            np.concatenate([points, keypoints[..., 2:]], axis=-1)[kept].astype(np.float32),
        )


@dataclass(frozen=True)
class Description:
    """What the file beside an exported model says, as far as a prediction needs it.

    Attributes:
        method: the name of the model's class.
        keypoints: K names, in the order of the predictions.
        limbs: pairs of indices that drawings connect.
        prepare: prepares images or crops.
        rest: the whole description.
    """

    method: str
    keypoints: tuple[str, ...]
    limbs: tuple[tuple[int, int], ...]
    prepare: ImageInput | CropInput
    rest: Mapping[str, Any]

    @classmethod
    def read(cls, file: Path) -> "Description":
        """
        Raises:
            FileNotFoundError, ValueError: the description is missing or cannot be used; the message names it.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{file} is missing: tools/export.py writes this description beside the model, and both "
                "belong together"
            ) from error
        try:
            return cls.parse(json.loads(text))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{file} is no description of an exported model ({reason}): tools/export.py writes one"
            ) from error

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> "Description":
        """
        Raises:
            ValueError, KeyError, TypeError: the content is no description.
        """
        if content["version"] != DESCRIPTION_VERSION:
            raise ValueError(
                f"its version is {content['version']!r}, and this posecore reads {DESCRIPTION_VERSION}"
            )
        if content["outputs"] != "poses":
            raise ValueError("the model was exported with --outputs raw, and a predictor needs poses")
        names = list(content["skeleton"]["keypoints"])
        node = dict(content["input"])
        kind = node.pop("kind")
        prepare: ImageInput | CropInput
        if kind == "images":
            prepare = ImageInput(**node)
        elif kind == "crops":
            geometry = CropGeometry(
                (int(node["size"][0]), int(node["size"][1])), node["padding"], node["first_pixel"]
            )
            sigmas = tuple(content["skeleton"]["sigmas"])
            prepare = CropInput(geometry, node["channels"], node["min_score"], sigmas, node["oks_nms_thresh"])
        else:
            raise ValueError(f"its kind of input must be 'images' or 'crops', not {kind!r}")
        limbs = tuple((names.index(a), names.index(b)) for a, b in content["skeleton"]["limbs"])
        return cls(content["method"], tuple(names), limbs, prepare, content)


def description_file(model: Path) -> Path:
    """The description of an exported model: its name with .json added."""
    return model.with_name(f"{model.name}.json")


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


def channels_first(image: np.ndarray, channels: str) -> np.ndarray:
    """(H, W, 3) RGB -> (3, H, W) in the order that ``channels`` names, "BGR" or "RGB"."""
    ordered = image[:, :, ::-1] if channels == "BGR" else image
    return np.ascontiguousarray(ordered.transpose(2, 0, 1))


def oks_nms(
    poses: np.ndarray, scores: np.ndarray, areas: np.ndarray, sigmas: np.ndarray, threshold: float
) -> np.ndarray:
    """Greedy suppression by OKS, as :func:`posecore.structures.oks.oks_nms` has it, in numpy.

    Args:
        poses: (M, K, 2), pixels.
        scores: (M,).
        areas: (M,), square pixels; a pair is compared at the mean of its two areas.
        sigmas: (K,).
        threshold: OKS above which a pose is dropped.

    Returns:
        Indices of the kept poses, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        squared = np.square(poses[order] - poses[best]).sum(axis=-1)
        area = (areas[order] + areas[best]) / 2
        scale = 2 * np.square(2 * sigmas) * (area[:, None] + np.finfo(np.float64).eps)
        order = order[~(np.exp(-squared / scale).mean(axis=-1) > threshold)]
    return np.array(kept, dtype=np.int64)
