"""Compares an exported model with the PyTorch model that it was made of: :func:`compare`.

Letters: M persons, K keypoints.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import nn

from posecore.engine.evaluate import evaluate
from posecore.export.images import CheckImage
from posecore.inference.exported_predictor import to_instances
from posecore.inference.onnx import OnnxPredictor, Poses
from posecore.inference.predictor import Predictor


class DeviationError(ValueError):
    """An exported model deviates from PyTorch by more than the tolerance."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported model may be from PyTorch.

    Attributes:
        pixels: of the original image.
        measure: whether this limits the largest or the mean distance of keypoints.
        missed: largest share of the persons that only one of the two models finds.
        metric: percent points that the first metric of a dataset may lose.
    """

    pixels: float
    measure: Literal["largest", "mean"]
    missed: float = 0.0
    metric: float = 0.1


# Keypoints that are the peak of a heatmap jump to another cell where two are nearly equal, and half precision
# and integers decide a few of them otherwise. So the mean is limited there.
TOLERANCES: dict[str, Tolerance] = {
    "float32": Tolerance(0.5, "largest"),
    "float16": Tolerance(0.5, "mean", missed=0.05, metric=0.5),
    "int8": Tolerance(3.0, "mean", missed=0.1, metric=1.0),
}


@dataclass(frozen=True)
class Deviation:
    """How far the poses of an exported model are from those of PyTorch, over all images.

    Attributes:
        images: number of images.
        persons: number of persons that both models find.
        missed: number of persons that only one of them finds.
        least_score: persons with a lower score were left out; None where no person was.
        largest_pixels, mean_pixels: distance of the keypoints, pixels of the original image.
        largest_score, mean_score: difference of the persons' scores.
        milliseconds_pytorch, milliseconds_exported: median time of an image, resize and decoding included.
    """

    images: int
    persons: int
    missed: int
    least_score: float | None
    largest_pixels: float
    mean_pixels: float
    largest_score: float
    mean_score: float
    milliseconds_pytorch: float
    milliseconds_exported: float

    def check(self, tolerance: Tolerance) -> None:
        """
        Raises:
            DeviationError: the deviation is beyond the tolerance.
        """
        pixels = self.largest_pixels if tolerance.measure == "largest" else self.mean_pixels
        if not pixels <= tolerance.pixels:
            raise DeviationError(
                f"the exported model deviates from PyTorch: the {tolerance.measure} distance of a keypoint "
                f"is {pixels:.3g} pixels, more than --tolerance {tolerance.pixels:g}; nothing was written"
            )
        if self.missed > tolerance.missed * (self.persons + self.missed):
            raise DeviationError(
                f"the exported model deviates from PyTorch: {self.missed} of {self.persons + self.missed} "
                "persons are found by one of the two alone; nothing was written"
            )


def compare(
    predictor: Predictor, exported: OnnxPredictor, images: Sequence[CheckImage], least_score: float
) -> Deviation:
    """Runs both models on images, in turns, and compares their poses.

    Persons of the PyTorch model with a lower score than ``least_score`` are left out, unless all have; then
    all are compared. A person belongs to the pose of the exported model whose keypoints are nearest.
    """
    times: dict[str, list[float]] = {"pytorch": [], "exported": []}
    pairs = []
    for number, check in enumerate(images):
        boxes = (check.boxes,) if exported.needs_boxes else ()
        if number == 0:  # the first run of each prepares memory
            predictor(check.image, *boxes)
            exported(check.image, *boxes)
        ours = _timed(lambda: predictor(check.image, *boxes), times["pytorch"])  # noqa: B023
        theirs = _timed(lambda: exported(check.image, *boxes), times["exported"])  # noqa: B023
        pairs.append((ours, theirs))
    threshold: float | None = least_score
    if not any((ours.scores >= least_score).any() for ours, _ in pairs):
        threshold = None
    matches = [_match(*pair, threshold) for pair in pairs]
    pixels = np.concatenate([match.pixels.ravel() for match in matches])
    scores = np.concatenate([match.scores for match in matches])
    return Deviation(
        images=len(images),
        persons=len(scores),
        missed=sum(match.missed for match in matches),
        least_score=threshold,
        largest_pixels=float(pixels.max(initial=0)),
        mean_pixels=float(pixels.mean()) if len(pixels) else 0.0,
        largest_score=float(scores.max(initial=0)),
        mean_score=float(scores.mean()) if len(scores) else 0.0,
        milliseconds_pytorch=statistics.median(times["pytorch"]),
        milliseconds_exported=statistics.median(times["exported"]),
    )


def _timed(run: Callable[[], Any], times: list[float]) -> Any:
    """The result of ``run``, whose milliseconds are appended to ``times``."""
    start = time.perf_counter()
    result = run()
    times.append((time.perf_counter() - start) * 1e3)
    return result


@dataclass(frozen=True)
class _Match:
    """The persons of one image that both models find.

    Attributes:
        pixels: (M, K) distances of keypoints.
        scores: (M,) differences of scores.
        missed: number of persons that only one model finds.
    """

    pixels: np.ndarray
    scores: np.ndarray
    missed: int


def _match(ours: Instances, theirs: Poses, threshold: float | None) -> _Match:
    """Pairs the persons of two results, the nearest pairs first."""
    if threshold is not None:
        ours = ours[ours.scores >= threshold]
        # A score a little above the threshold may be a little below it in the other result.
        extra = theirs.scores >= threshold + 0.05
    else:
        extra = np.ones(len(theirs), dtype=bool)
    own = ours.pred_keypoints[..., :2].numpy()
    distances = np.linalg.norm(own[:, None] - theirs.pred_keypoints[None, :, :, :2], axis=-1)  # (A, B, K)
    means = distances.mean(axis=-1)
    rows, columns = [], []
    for flat in np.argsort(means, axis=None, kind="stable"):
        row, column = np.unravel_index(flat, means.shape)
        if row not in rows and column not in columns:
            rows.append(row)
            columns.append(column)
    extra[columns] = False
    differences = np.abs(ours.scores.numpy()[rows] - theirs.scores[columns])
    return _Match(distances[rows, columns], differences, len(ours) - len(rows) + int(extra.sum()))


class ExportedModel(nn.Module):
    """An exported model with the inputs and outputs of a :class:`PoseEstimator`, for evaluations.

    Args:
        exported: the model and its description.
    """

    def __init__(self, exported: OnnxPredictor) -> None:
        super().__init__()
        self.exported = exported

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """The poses of samples, as the method's model has them."""
        samples = [
            {
                name: value.numpy() if isinstance(value, torch.Tensor) else value
                for name, value in inputs.items()
            }
            for inputs in batched_inputs
        ]
        return [{"instances": to_instances(poses)} for poses in self.exported.run(samples)]


@dataclass(frozen=True)
class MetricPair:
    """The metrics of a dataset, percent.

    Attributes:
        pytorch, exported: metric -> value, those of the first task.
    """

    pytorch: Mapping[str, float]
    exported: Mapping[str, float]

    @property
    def name(self) -> str:
        """The first metric, AP where there is one."""
        return next(iter(self.pytorch))

    @property
    def lost(self) -> float:
        """What the exported model loses of it, percent points."""
        return self.pytorch[self.name] - self.exported[self.name]

    def check(self, tolerance: Tolerance) -> None:
        """
        Raises:
            DeviationError: the loss is beyond the tolerance.
        """
        if not self.lost <= tolerance.metric:
            raise DeviationError(
                f"the exported model loses {self.lost:.2f} {self.name} ({self.pytorch[self.name]:.2f} to "
                f"{self.exported[self.name]:.2f}), more than --metric-tolerance {tolerance.metric:g}; "
                "nothing was written"
            )


def compare_metrics(cfg: CfgNode, model: nn.Module, exported: OnnxPredictor) -> MetricPair:
    """Evaluates both models on the first dataset of DATASETS.TEST."""
    results = [evaluate(cfg, own) for own in (model, ExportedModel(exported))]
    task = next(iter(results[0]))
    return MetricPair(*({name: float(value) for name, value in result[task].items()} for result in results))


def raw_deviation(
    graph: Callable[..., tuple[torch.Tensor, ...]],
    run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    inputs: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """The largest difference of each raw output, relative to the largest value of the output in PyTorch.

    Args:
        graph: the exported graph in PyTorch.
        run: the exported model, from inputs by name to outputs by name.
        inputs: by name.
    """
    with torch.no_grad():
        expected = graph(*(torch.from_numpy(value) for value in inputs.values()))
    return {
        name: float(np.abs(value - own.numpy()).max() / max(np.abs(own.numpy()).max(), 1e-12))
        for (name, value), own in zip(run(inputs).items(), expected, strict=True)
    }
