"""Finds the poses in files, folders, videos or of a camera, and writes them (:func:`predict_sources`)."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from tqdm import tqdm

from posecore.checkpoint.exported import exported_config
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.plan import plan_prediction
from posecore.inference.prediction_writer import PredictionWriter
from posecore.inference.predictor import Predictor
from posecore.inference.video import Source, SourceImage
from posecore.structures.skeleton import Skeleton
from posecore.visualization.poses import draw_poses

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectorFiles:
    """The files of a detector of persons.

    Attributes:
        config_file: its configuration; None where that is in the weights (an exported model).
        weights: as MODEL.WEIGHTS can be.
    """

    config_file: str | None
    weights: str


def build_predictor(
    config_file: str | None,
    overrides: Sequence[str],
    *,
    detector: DetectorFiles | None = None,
    boxes_given: bool = False,
) -> Predictor:
    """The trained model of a configuration, with a detector if one is given.

    Args:
        config_file: the model's configuration; None where MODEL.WEIGHTS is an exported model, which has its
            configuration in it.
        overrides: KEY VALUE pairs, flat, MODEL.WEIGHTS among them.
        detector: finds the persons for a model that looks at one at a time; runs on the model's device.
        boxes_given: whether boxes will be given with the images.

    Raises:
        UsageError: the model needs boxes and there are none, or it takes none and there are some.
        CheckpointError: there are no weights, or they cannot be read or do not fit.
    """
    with _configuration(config_file, overrides) as cfg:
        require_weights(cfg.MODEL.WEIGHTS)
        finder = None
        if detector is not None:
            settings = ["MODEL.WEIGHTS", detector.weights, "MODEL.DEVICE", cfg.MODEL.DEVICE]
            with _configuration(detector.config_file, settings) as detector_cfg:
                finder = Predictor.from_config(detector_cfg)
        predictor = Predictor.from_config(cfg, finder)
    if predictor.samples.needs_boxes and not (boxes_given or detector):
        raise UsageError(
            "this model looks at one person at a time: give --boxes, or --detector-config and "
            "--detector-weights"
        )
    if not predictor.samples.needs_boxes and (boxes_given or detector):
        raise UsageError("this model finds persons by itself: it takes no boxes and no detector")
    return predictor


def named_weights(overrides: Sequence[str]) -> str:
    """The value of MODEL.WEIGHTS among KEY VALUE pairs; "" where there is none."""
    return dict(zip(overrides[::2], overrides[1::2], strict=False)).get("MODEL.WEIGHTS", "")


@contextmanager
def _configuration(config_file: str | None, overrides: Sequence[str]) -> Iterator[CfgNode]:
    """The configuration of a file, or that in the weights, while the model is built."""
    if config_file is not None:
        yield merge_config(get_cfg(), config_file, overrides)
        return
    require_weights(weights := named_weights(overrides))
    with exported_config(weights, overrides) as cfg:
        yield cfg


@dataclass(frozen=True)
class PredictionSummary:
    """What a prediction has done.

    Attributes:
        num_people: found in all images.
        num_images: that were predicted.
        failures: a message for every image or video that could not be read, predicted or drawn as a whole.
    """

    num_people: int
    num_images: int
    failures: tuple[str, ...]


def predict_sources(
    predictor: Predictor,
    sources: Iterable[str],
    folder: Path,
    *,
    threshold: float = 0.3,
    find_boxes: ImageBoxes | None = None,
    show: bool = False,
) -> PredictionSummary:
    """Predicts the images of all sources and writes drawings, films and poses.json.

    All files are planned before the first is read (:func:`posecore.inference.plan.plan_prediction`). An image
    that cannot be read or predicted is logged and counted, and the others follow.

    Args:
        predictor: the model.
        sources: images, folders, videos, streams or numbers of cameras
            (:func:`posecore.inference.video.list_sources`).
        folder: where the files go (:class:`PredictionWriter`).
        threshold: least score of a person.
        find_boxes: the persons' boxes of an image; None where the model or its detector finds them.
        show: whether drawings are shown in a window too, in which q stops.

    Raises:
        FileNotFoundError, ValueError: a source is missing, or boxes or output do not fit the sources; nothing
            is written.
    """
    skeleton = predictor.model.skeleton
    assert isinstance(skeleton, Skeleton)
    plan = plan_prediction(sources, folder, inputs=[find_boxes.file] if find_boxes else [])
    if find_boxes:
        find_boxes.check(plan.sources)
    failures: list[str] = []

    def fail(message: str) -> None:
        failures.append(message)
        logger.warning(message)

    def predict_source(source: Source, progress: tqdm) -> bool:
        """Whether to go on with the next source."""
        frames = source.read(predictor.max_pixels)
        while (frame := _next(frames, fail)) is not None:
            progress.update()
            poses = _predict(predictor, frame, find_boxes, fail)
            if poses is None:
                continue
            poses = poses[poses.scores >= threshold]
            drawing = _draw(frame, poses, skeleton, fail)
            try:
                writer.write(frame, poses, drawing)
            except (OSError, ValueError) as error:
                fail(str(error))
            if show and drawing is not None and _stopped_in_window(drawing):
                return False
        return True

    with PredictionWriter(folder, skeleton, plan.drawings) as writer, tqdm(unit="image") as progress:
        for source in plan.sources:
            try:
                if not predict_source(source, progress):
                    break
            except KeyboardInterrupt:
                if source.kind != "live":  # the usual way to stop a camera
                    raise
        writer.failed = bool(failures)
    people = sum(len(record["people"]) for record in writer.records)
    return PredictionSummary(people, len(writer.records), tuple(failures))


def _next(frames: Iterator[SourceImage], fail: Callable[[str], None]) -> SourceImage | None:
    """The next image of a source; None after the last, and after an error, which is reported."""
    try:
        return next(frames, None)
    except (OSError, ValueError) as error:
        fail(str(error))
        return None


def _predict(
    predictor: Predictor, frame: SourceImage, find_boxes: ImageBoxes | None, fail: Callable[[str], None]
) -> Instances | None:
    """The poses of an image; None after an error, which is reported."""
    boxes = find_boxes(frame) if find_boxes else None
    try:
        return predictor(frame.image, boxes)
    except (ValueError, torch.OutOfMemoryError) as error:
        fail(f"image {_label(frame)}: {error}")
        return None


def _draw(
    frame: SourceImage, poses: Instances, skeleton: Skeleton, fail: Callable[[str], None]
) -> np.ndarray | None:
    """The drawing of an image; None after an error, which is reported, because poses matter more."""
    try:
        return draw_poses(frame.image, poses, skeleton)
    except Exception as error:
        fail(f"image {_label(frame)} cannot be drawn: {error}")
        return None


def _label(frame: SourceImage) -> str:
    return frame.name if frame.number is None else f"{frame.number} of {frame.name}"


def _stopped_in_window(drawing: np.ndarray) -> bool:
    """Shows a drawing; whether q was pressed.

    Raises:
        UsageError: this OpenCV has no windows.
    """
    try:
        cv2.imshow("posecore", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) == ord("q")
    except cv2.error as error:
        raise UsageError(
            "--show needs a screen, and opencv-python instead of opencv-python-headless"
        ) from error
