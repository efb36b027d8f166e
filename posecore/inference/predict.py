"""Finds the poses in files, folders, videos or of a camera, and writes them (:func:`predict_sources`)."""

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from tqdm import tqdm

from posecore.checkpoint.exported import exported_config
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.inference.drawing_output import DrawingOutput
from posecore.inference.exported_predictor import ExportedPredictor, RuntimeSettings, is_exported
from posecore.inference.image_boxes import ImageBoxes
from posecore.inference.image_reader import ImageReader, ReadFailure, ReadyImage
from posecore.inference.interchange import COCO_RESULTS, POSECORE, open_export
from posecore.inference.plan import plan_prediction
from posecore.inference.prediction_writer import PredictionWriter
from posecore.inference.predictor import PosePredictor, Predictor
from posecore.inference.sequences import image_sequences
from posecore.inference.smoothing import PoseSmoother, SmoothingSettings
from posecore.inference.tracking import PoseTracker, TrackingSettings
from posecore.inference.video import DEFAULT_RATE, Source, SourceImage
from posecore.structures.skeleton import Skeleton

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
    runtime: RuntimeSettings | None = None,
) -> PosePredictor:
    """The trained model of a configuration, or an exported ONNX model; with a detector if one is given.

    Args:
        config_file: the model's configuration; None where MODEL.WEIGHTS has it in it, as an exported model.
        overrides: KEY VALUE pairs, flat, MODEL.WEIGHTS among them.
        detector: finds the persons for a model that looks at one at a time; runs on the model's device.
        boxes_given: whether boxes will be given with the images.
        runtime: where ONNX models run; None for the default.

    Raises:
        UsageError: the model needs boxes and there are none, or it takes none and there are some; or there is
            a runtime or a configuration and it is no model for it.
        CheckpointError: there are no weights, or they cannot be read or do not fit.
        FileNotFoundError, ValueError: of an ONNX model, a file is missing or cannot be used.
    """
    weights = named_weights(overrides)
    if runtime is not None and not any(map(is_exported, (weights, detector.weights if detector else ""))):
        raise UsageError(
            "--backend and --threads are for exported ONNX models: MODEL.WEIGHTS or --detector-weights must "
            "be a file NAME.onnx"
        )
    runtime = runtime or RuntimeSettings()
    finder: PosePredictor | None = None
    predictor: PosePredictor
    if is_exported(weights):
        _refuse_config(config_file, weights, "--config-file")
        if detector is not None:
            finder = _detector(detector, "cpu", runtime)
        predictor = ExportedPredictor.from_overrides(overrides, runtime, finder)
    else:
        with _configuration(config_file, overrides) as cfg:
            require_weights(cfg.MODEL.WEIGHTS)
            if detector is not None:
                finder = _detector(detector, cfg.MODEL.DEVICE, runtime)
            predictor = Predictor.from_config(cfg, finder)
    if predictor.needs_boxes and not (boxes_given or detector):
        raise UsageError(
            "this model looks at one person at a time: give --boxes, or --detector-config and "
            "--detector-weights"
        )
    if not predictor.needs_boxes and (boxes_given or detector):
        raise UsageError("this model finds persons by itself: it takes no boxes and no detector")
    return predictor


def _detector(files: DetectorFiles, device: str, runtime: RuntimeSettings) -> PosePredictor:
    """The detector of persons.

    Raises:
        UsageError: it looks at one person at a time itself.
    """
    finder: PosePredictor
    if is_exported(files.weights):
        _refuse_config(files.config_file, files.weights, "--detector-config")
        finder = ExportedPredictor.from_overrides(["MODEL.WEIGHTS", files.weights], runtime)
    else:
        settings = ["MODEL.WEIGHTS", files.weights, "MODEL.DEVICE", device]
        with _configuration(files.config_file, settings) as cfg:
            finder = Predictor.from_config(cfg)
    if finder.needs_boxes:
        raise UsageError(
            f"--detector-weights {files.weights}: a detector must find persons in whole images, and this "
            "model looks at one person at a time"
        )
    return finder


def _refuse_config(config_file: str | None, weights: str, option: str) -> None:
    """
    Raises:
        UsageError: there is a configuration beside an exported model.
    """
    if config_file is not None:
        raise UsageError(f"{option} must be left out: {weights} has its settings in {weights}.json")


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


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted and what is written of them.

    Attributes:
        threshold: least score of a person.
        keypoint_threshold: keypoints with a confidence not above this are not drawn; the files have all.
        batch_size: images, one after the other and of one size, that are predicted at once. The poses are
            those of the images one by one, up to rounding.
        read_ahead: images of files that are read and prepared in a thread meanwhile, beyond a batch; 0 reads
            and writes without threads. Cameras and streams are read one image at a time.
        tracking: how the persons of videos are followed; None to give them no identities. Image files are
            then sequences (:func:`posecore.inference.sequences.image_sequences`).
        image_rate: images per second of these sequences.
        smoothing: how their keypoints are smoothed, which needs ``tracking``; None not to.
        output_format: poses.json alone, or another format beside it
            (:data:`posecore.inference.interchange.FORMATS`).
        image_ids: the id of an image by its name, for the format coco.
        show: whether drawings are shown in a window too, in which q stops.

    Raises:
        ValueError: a value is out of its range, or does not go with another.
    """

    threshold: float = 0.3
    keypoint_threshold: float = 0.0
    batch_size: int = 1
    read_ahead: int = 4
    tracking: TrackingSettings | None = None
    image_rate: float = DEFAULT_RATE
    smoothing: SmoothingSettings | None = None
    output_format: str = POSECORE
    image_ids: Mapping[str, int | str] | None = None
    show: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"the images of a batch must be 1 or more, not {self.batch_size}")
        if self.read_ahead < 0:
            raise ValueError(f"the images that are read ahead must be 0 or more, not {self.read_ahead}")
        if not 0 < self.image_rate < math.inf:
            raise ValueError(
                f"the images per second (--image-rate) must be above 0 and finite, not {self.image_rate}"
            )
        if self.smoothing and not self.tracking:
            raise ValueError("smoothing needs tracking: it must know who is who from image to image")


DEFAULT = PredictionSettings()


def predict_sources(
    predictor: PosePredictor,
    sources: Iterable[str],
    folder: Path,
    *,
    find_boxes: ImageBoxes | None = None,
    settings: PredictionSettings = DEFAULT,
) -> PredictionSummary:
    """Predicts the images of all sources and writes drawings, films and poses.json.

    All files are planned before the first is read (:func:`posecore.inference.plan.plan_prediction`). An image
    that cannot be read or predicted is logged and counted, and the others follow. One thread reads and
    prepares images, one draws and writes; the memory does not grow with the number of images.

    Args:
        predictor: the model.
        sources: images, folders, videos, streams or numbers of cameras
            (:func:`posecore.inference.video.list_sources`).
        folder: where the files go (:class:`PredictionWriter`).
        find_boxes: the persons' boxes of an image; None where the model or its detector finds them.
        settings: everything else.

    Raises:
        FileNotFoundError, ValueError: a source is missing, or boxes or output do not fit the sources; nothing
            is written.
        UsageError: poses.json cannot be written.
    """
    skeleton = predictor.skeleton
    plan = plan_prediction(
        sources,
        folder,
        inputs=[find_boxes.file] if find_boxes else [],
        outputs=[COCO_RESULTS] if settings.output_format == "coco" else [],
    )
    if find_boxes:
        find_boxes.check(plan.sources)
    files = image_sequences(plan.sources, settings.image_rate) if settings.tracking else list(plan.sources)
    export = open_export(settings.output_format, folder, plan.sources, skeleton, settings.image_ids)
    failures: list[str] = []

    def fail(message: str) -> None:
        failures.append(message)
        logger.warning(message)

    reader = ImageReader(predictor, find_boxes)
    ahead = settings.read_ahead and settings.batch_size - 1 + settings.read_ahead
    number = len(files) if all(source.kind == "image" for source in files) else None
    with (
        PredictionWriter(folder, skeleton, plan.drawings, export) as writer,
        DrawingOutput(
            writer,
            skeleton,
            fail,
            keypoint_threshold=settings.keypoint_threshold,
            show=settings.show,
            threaded=settings.read_ahead > 0,
        ) as output,
        tqdm(unit="image", total=number) as progress,
    ):
        predict = _Prediction(predictor, settings, skeleton, output, progress, fail)
        for group in _groups(files):
            if group[0].kind != "live":
                with reader.ahead(group, ahead) as items:
                    predict.run(items, settings.batch_size)
            else:
                with suppress(KeyboardInterrupt):  # the usual way to stop a camera
                    predict.run(reader.read(group), 1)
            if output.stopped:
                break
        output.finish()
        writer.failed = bool(failures)
    return PredictionSummary(writer.num_people, writer.num_images, tuple(failures))


def _groups(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """The sources in their order: each camera or stream alone, files that follow each other together."""
    for live, group in itertools.groupby(sources, key=lambda source: source.kind == "live"):
        files = list(group)
        yield from [[source] for source in files] if live else [files]


@dataclass
class _Prediction:
    """Predicts images in batches, follows and smooths persons, and hands everything on.

    Attributes:
        predictor: the model.
        settings: how images are predicted.
        skeleton: of the poses.
        output: takes the results.
        progress: counts the images.
        fail: reports an error.
    """

    predictor: PosePredictor
    settings: PredictionSettings
    skeleton: Skeleton
    output: DrawingOutput
    progress: tqdm
    fail: Callable[[str], None]

    def __post_init__(self) -> None:
        self._sequence: str | None = None

    def run(self, items: Iterator[ReadyImage | ReadFailure], batch_size: int) -> None:
        """Predicts all items, until the output is stopped."""
        for batch in self._batches(items, batch_size):
            for ready, poses in zip(batch, self._predict(batch), strict=True):
                self.progress.update()
                if poses is not None:
                    poses = poses[poses.scores >= self.settings.threshold]
                    self.output.put(ready.frame, self._followed(ready.frame, poses))
                if self.output.stopped:
                    return

    def _batches(
        self, items: Iterator[ReadyImage | ReadFailure], batch_size: int
    ) -> Iterator[list[ReadyImage]]:
        """Images that follow each other and have one size."""
        batch: list[ReadyImage] = []
        for item in items:
            if isinstance(item, ReadFailure):
                self.fail(item.message)
                continue
            if batch and batch[0].frame.image.shape != item.frame.image.shape:
                yield batch
                batch = []
            batch.append(item)
            if len(batch) == batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _predict(self, batch: Sequence[ReadyImage]) -> list[Instances | None]:
        """The poses of images; None for an image after an error, which is reported."""
        try:
            samples = [ready.sample for ready in batch if ready.sample is not None]
            if samples:
                return list(self.predictor.of_samples(samples))
            return list(self.predictor.batch([ready.frame.image for ready in batch]))
        except (ValueError, torch.OutOfMemoryError) as error:
            if len(batch) == 1:
                self.fail(f"image {batch[0].frame.label}: {error}")
                return [None]
        # One by one, so that the error is that of an image, and the others follow.
        return [poses for ready in batch for poses in self._predict([ready])]

    def _followed(self, frame: SourceImage, poses: Instances) -> Instances:
        """The poses with identities and smoothed keypoints, where these are wanted."""
        if self.settings.tracking is None or frame.time is None:
            return poses
        if (sequence := frame.sequence or frame.name) != self._sequence:
            self._sequence = sequence
            self._tracker = PoseTracker(self.skeleton, self.settings.tracking)
            self._smoother = PoseSmoother(self.settings.smoothing) if self.settings.smoothing else None
        poses.track_ids = self._tracker.update(poses, frame.time)
        if self._smoother is not None:
            poses.smoothed_keypoints = self._smoother.update(poses, frame.time)
        return poses
