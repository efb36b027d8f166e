"""Matches of poses with persons as COCO's evaluation makes them: :class:`PoseMatches`, and what follows.

Average precision and recall over weighted images, hence bootstrap intervals, and the calibration of
scores. The library that evaluates (hotcoco) makes the matches once; resampled images need no second matching,
because poses are matched image by image.

Letters: N images, D poses (at most 20 for each image, as COCO's evaluation takes them), T thresholds of OKS.
"""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hotcoco
import numpy as np

from posecore.evaluation.coco import AREAS, with_plain_ids

# The thresholds of OKS that AP is averaged over, and the recalls at which precision is read.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class PoseMatches:
    """Poses by falling score, each correct, wrong or ignored at each threshold of OKS.

    Attributes:
        images: (D,), index of each pose's image.
        scores: (D,), falling.
        correct: (T, D) bool.
        ignored: (T, D) bool: matched with an ignored person, or unmatched and of another size.
        num_persons: (N,), the number of persons to be found in each image.
    """

    images: np.ndarray
    scores: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    num_persons: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval; NaN where nobody is to be found.

    Attributes:
        value: of all images.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How well scores say which poses are correct (OKS of 0.5 or more), in B bins of equal width.

    Attributes:
        edges: (B + 1,), from 0 to 1.
        counts: (B,), poses in each bin.
        confidence: (B,), mean score; 0 in an empty bin.
        accuracy: (B,), share of correct poses; 0 in an empty bin.
        error: the expected calibration error, the mean of |confidence - accuracy| over all poses; NaN
            without poses.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def match_poses(
    ground_truth: dict[str, Any],
    results: list[dict[str, Any]],
    sigmas: Sequence[float],
    areas: Mapping[str, tuple[float, float]] = AREAS,
) -> dict[str, PoseMatches]:
    """Matches poses with persons, once for each range of areas.

    Args:
        ground_truth: as :func:`posecore.data.read_coco` returns it.
        results: as :func:`posecore.evaluation.results.coco_results` makes them; of its images.
        sigmas: K constants of the keypoints.
        areas: name -> least and greatest area of a person, square pixels.

    Returns:
        The matches under the same names. Images have the order of the ground truth.
    """
    order = {image["id"]: index for index, image in enumerate(ground_truth["images"])}
    plain, own = with_plain_ids(ground_truth, results)
    # with_plain_ids counts the images by their sorted ids, from 1.
    index_of = {number: order[key] for number, key in enumerate(sorted(order), start=1)}
    if not own:
        return {name: _no_poses(ground_truth, order, bounds) for name, bounds in areas.items()}
    own = [{key: value for key, value in result.items() if key != "bbox"} for result in own]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="hotcoco: ")
        coco = hotcoco.COCO(plain)
        evaluation = hotcoco.COCOeval(coco, coco.load_res(own), "keypoints")
        evaluation.params.kpt_oks_sigmas = list(sigmas)
        evaluation.params.iou_thrs = THRESHOLDS.tolist()
        evaluation.params.area_rng = [list(map(float, bounds)) for bounds in areas.values()]
        evaluation.params.area_rng_lbl = [name or "all" for name in areas]
        evaluation.evaluate()
    rows: dict[tuple[float, float], list[dict[str, Any]]] = {}
    for row in evaluation.eval_imgs:
        if row is not None:
            rows.setdefault((float(row["aRng"][0]), float(row["aRng"][1])), []).append(row)
    return {
        name: _collect(rows.get((float(low), float(high)), []), index_of)
        for name, (low, high) in areas.items()
    }


def precision_and_recall(
    matches: PoseMatches, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """COCO's average precision and recall at each threshold, over weighted images.

    A weight of 2 counts an image as if the dataset held it twice, 0 as if it did not hold it.

    Args:
        matches: of N images.
        weights: (N,), not negative; None for 1 each.

    Returns:
        Two arrays (T,) in [0, 1]; NaN where nobody is to be found.
    """
    num_thresholds = len(matches.correct)
    weights = np.ones(len(matches.num_persons)) if weights is None else weights
    total = float(matches.num_persons @ weights)
    if total <= 0:
        return np.full(num_thresholds, np.nan), np.full(num_thresholds, np.nan)
    weight = weights[matches.images]
    counted = ~matches.ignored
    correct = np.cumsum((matches.correct & counted) * weight, axis=1)
    wrong = np.cumsum((~matches.correct & counted) * weight, axis=1)
    recalls = correct / total
    precisions = correct / (correct + wrong + np.finfo(np.float64).eps)
    # At each recall the best precision of that recall or a higher one.
    precisions = np.maximum.accumulate(precisions[:, ::-1], axis=1)[:, ::-1]
    average, recall = np.zeros(num_thresholds), np.zeros(num_thresholds)
    for t in range(num_thresholds if len(weight) else 0):
        places = np.searchsorted(recalls[t], _RECALLS, side="left")
        places = places[places < len(weight)]
        average[t] = precisions[t, places].sum() / len(_RECALLS)
        recall[t] = recalls[t, -1]
    return average, recall


def headline(matches: Mapping[str, PoseMatches], weights: np.ndarray | None = None) -> dict[str, float]:
    """AP, AP50, AP75, APm, APl, AR in percent, as :func:`posecore.evaluation.coco.score` has them.

    Args:
        matches: of :func:`match_poses`, under the names "", "m" and "l".
        weights: (N,), as for :func:`precision_and_recall`.
    """
    average, recall = precision_and_recall(matches[""], weights)
    medium, large = (precision_and_recall(matches[size], weights)[0] for size in ("m", "l"))
    values = (average.mean(), average[0], average[5], medium.mean(), large.mean(), recall.mean())
    names = ("AP", "AP50", "AP75", "APm", "APl", "AR")
    return {name: 100 * float(value) for name, value in zip(names, values, strict=True)}


def bootstrap(
    matches: Mapping[str, PoseMatches], draws: int, seed: int, confidence: float = 0.95
) -> tuple[dict[str, Interval], dict[str, np.ndarray]]:
    """:func:`headline` with percentile bootstrap intervals over images.

    Args:
        matches: as for :func:`headline`.
        draws: number of resamples of the N images, with replacement; 0 for intervals of the value alone.
        seed: of the draws. Two runs on one dataset with the same seed have the same draws, so that the
            differences of their drawn values are paired.
        confidence: of the intervals.

    Returns:
        The intervals, and the drawn values: name -> (draws,).
    """
    values = headline(matches)
    rng = np.random.default_rng(seed)
    count = len(matches[""].num_persons)
    drawn: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(draws):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        for name, value in headline(matches, weights).items():
            drawn[name].append(value)
    samples = {name: np.array(own) for name, own in drawn.items()}
    intervals = {
        name: Interval(value, *_ends(samples[name], value, confidence)) for name, value in values.items()
    }
    return intervals, samples


def difference(
    values: Mapping[str, Interval],
    others: Mapping[str, Interval],
    drawn: Mapping[str, np.ndarray],
    drawn_others: Mapping[str, np.ndarray],
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """By how much one run is above another, with intervals of the paired draws of :func:`bootstrap`.

    Args:
        values, drawn: of the run.
        others, drawn_others: of the run that it is compared with, on the same dataset with the same seed.
        confidence: of the intervals.
    """
    differences = {}
    for name, interval in values.items():
        value = interval.value - others[name].value
        differences[name] = Interval(value, *_ends(drawn[name] - drawn_others[name], value, confidence))
    return differences


def calibrate(matches: PoseMatches, num_bins: int = 10) -> Calibration | None:
    """The calibration of the scores at OKS 0.5; ignored poses do not count.

    Args:
        matches: of all sizes.
        num_bins: B.

    Returns:
        None where a score is not in [0, 1], so that it cannot be a probability.
    """
    counted = ~matches.ignored[0]
    scores, correct = matches.scores[counted], matches.correct[0, counted]
    if len(scores) and (scores.min() < 0 or scores.max() > 1):
        return None
    edges = np.linspace(0, 1, num_bins + 1)
    place = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(place, minlength=num_bins)
    filled = np.maximum(counts, 1)
    confidence = np.bincount(place, weights=scores, minlength=num_bins) / filled
    accuracy = np.bincount(place, weights=correct.astype(float), minlength=num_bins) / filled
    gaps = counts * np.abs(confidence - accuracy)
    error = float(gaps.sum() / len(scores)) if len(scores) else float("nan")
    return Calibration(edges, counts, confidence, accuracy, error)


def _collect(rows: list[dict[str, Any]], index_of: Mapping[int, int]) -> PoseMatches:
    """Joins the library's rows, one for each image with persons or poses."""
    num_persons = np.zeros(len(index_of))
    images: list[np.ndarray] = [np.zeros(0, dtype=int)]
    scores: list[np.ndarray] = [np.zeros(0)]
    correct: list[np.ndarray] = [np.zeros((len(THRESHOLDS), 0), dtype=bool)]
    ignored = [correct[0]]
    # In the order of their ids, by which COCO's evaluation breaks ties of scores.
    for row in sorted(rows, key=lambda row: row["image_id"]):
        image = index_of[row["image_id"]]
        num_persons[image] = np.sum(row["gtInDenominator"])
        count = len(row["dtScores"])
        if count:
            images.append(np.full(count, image))
            scores.append(np.asarray(row["dtScores"], dtype=float))
            correct.append(np.asarray(row["dtMatched"], dtype=bool).reshape(-1, count))
            ignored.append(np.asarray(row["dtIgnore"], dtype=bool).reshape(-1, count))
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    return PoseMatches(
        images=np.concatenate(images)[order],
        scores=every[order],
        correct=np.concatenate(correct, axis=1)[:, order],
        ignored=np.concatenate(ignored, axis=1)[:, order],
        num_persons=num_persons,
    )


def _no_poses(
    ground_truth: dict[str, Any], order: Mapping[Any, int], bounds: tuple[float, float]
) -> PoseMatches:
    num_persons = np.zeros(len(order))
    for person in ground_truth["annotations"]:
        if not person["iscrowd"] and person["num_keypoints"] and bounds[0] <= person["area"] <= bounds[1]:
            num_persons[order[person["image_id"]]] += 1
    nothing = np.zeros((len(THRESHOLDS), 0), dtype=bool)
    return PoseMatches(np.zeros(0, dtype=int), np.zeros(0), nothing, nothing, num_persons)


def _ends(samples: np.ndarray, value: float, confidence: float) -> tuple[float, float]:
    """The ends of the interval; the value itself where nothing was drawn."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return value, value
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
