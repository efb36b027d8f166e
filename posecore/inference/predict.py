"""Finds the poses in files, folders, videos or of a camera, and writes them (:func:`predict_sources`)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from tqdm import tqdm

from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data import PersonBoxes
from posecore.inference.prediction_writer import PredictionWriter
from posecore.inference.predictor import Predictor
from posecore.inference.video import SourceImage, read_images
from posecore.structures.skeleton import Skeleton
from posecore.visualization.poses import draw_poses


@dataclass(frozen=True)
class DetectorFiles:
    """The files of a detector of persons: its configuration and its weights."""

    config_file: str
    weights: str


def build_predictor(
    config_file: str,
    overrides: Sequence[str],
    *,
    detector: DetectorFiles | None = None,
    boxes_given: bool = False,
) -> Predictor:
    """The trained model of a configuration, with a detector if one is given.

    Args:
        config_file: the model's configuration.
        overrides: KEY VALUE pairs, flat, MODEL.WEIGHTS among them.
        detector: finds the persons for a model that looks at one at a time; runs on the model's device.
        boxes_given: whether boxes will be given with the images.

    Raises:
        UsageError: the model needs boxes and there are none, or it takes none and there are some.
        CheckpointError: there are no weights, or they cannot be read or do not fit.
    """
    cfg = merge_config(get_cfg(), config_file, overrides)
    require_weights(cfg.MODEL.WEIGHTS)
    finder = None
    if detector is not None:
        settings = ["MODEL.WEIGHTS", detector.weights, "MODEL.DEVICE", cfg.MODEL.DEVICE]
        finder = Predictor.from_config(merge_config(get_cfg(), detector.config_file, settings))
    predictor = Predictor.from_config(cfg, finder)
    if predictor.samples.needs_boxes and not (boxes_given or detector):
        raise UsageError(
            "this model looks at one person at a time: give --boxes, or --detector-config and "
            "--detector-weights"
        )
    if not predictor.samples.needs_boxes and (boxes_given or detector):
        raise UsageError("this model finds persons by itself: it takes no boxes and no detector")
    return predictor


def predict_sources(
    predictor: Predictor,
    sources: Iterable[str],
    folder: Path,
    *,
    threshold: float = 0.3,
    find_boxes: Callable[[SourceImage], PersonBoxes] | None = None,
    show: bool = False,
) -> tuple[int, int]:
    """Predicts the images of all sources and writes drawings, films and poses.json.

    Args:
        predictor: the model.
        sources: images, folders, videos or numbers of cameras (:func:`posecore.inference.video.read_images`).
        folder: where the files go (:class:`PredictionWriter`).
        threshold: least score of a person.
        find_boxes: the persons' boxes of an image; None where the model or its detector finds them.
        show: whether drawings are shown in a window too, in which q stops.

    Returns:
        The number of people and the number of images.

    Raises:
        FileNotFoundError, ValueError: a source is missing or broken; earlier images are written.
    """
    skeleton = predictor.model.skeleton
    assert isinstance(skeleton, Skeleton)
    frames = (frame for source in sources for frame in read_images(source))
    with PredictionWriter(folder, skeleton) as writer:
        for frame in tqdm(frames, unit="image"):
            poses = predictor(frame.image, find_boxes(frame) if find_boxes else None)
            poses = poses[poses.scores >= threshold]
            drawing = draw_poses(frame.image, poses, skeleton)
            writer.write(frame, poses, drawing)
            if show:
                cv2.imshow("posecore", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
                if cv2.waitKey(1) == ord("q"):
                    break
    return sum(len(record["people"]) for record in writer.records), len(writer.records)
