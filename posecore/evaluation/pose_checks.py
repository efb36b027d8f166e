"""Finds labels that do not fit the person's others, as :class:`Suspects`: swapped sides, too long limbs.

Most rules compare a person with the other persons of the dataset, so they know no anatomy, fit any skeleton,
and say nothing where there are too few persons to compare with. What they name is suspected, not certain.

Letters: n persons, K keypoints, J flip pairs, B limbs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from posecore.structures.skeleton import Skeleton

# The least number of persons that have what is compared.
MIN_PERSONS = 30

# How much more likely a pair must be when it is swapped, as the logarithm of the ratio of likelihoods, and
# how many standard deviations the swapped pair may be away from what is predicted.
_LOG_RATIO, _FITS = 10.0, 3.0
# The ridge of the linear predictor, in shares of the number of persons.
_RIDGE = 1e-3
# The fence of Tukey's "far out", in interquartile ranges, and the least excess in length.
_FENCE, _EXCESS = 3.0, 2.0


@dataclass(frozen=True)
class Suspects:
    """Persons with a suspected mistake, the most suspicious first.

    Attributes:
        persons: (m,), indices of persons.
        keypoints: for each, the indices of the keypoints that are meant.
    """

    persons: np.ndarray
    keypoints: tuple[tuple[int, ...], ...]


def swapped_pairs(keypoints: np.ndarray, areas: np.ndarray, skeleton: Skeleton) -> Suspects:
    """Persons of whom the keypoints of one flip pair seem to be swapped.

    The vector from the right to the left keypoint of each pair is predicted from those of the person's other
    pairs, by a linear model of all persons (ridge regression, each person left out for the own prediction). A
    pair is suspected where the swapped vector is exp(10) times as likely as the labeled one under the
    model's spread, and fits within three standard deviations. Where arms or legs are often crossed, the
    spread is wide, and nobody is suspected for it. Of several pairs of a person the most unlikely one counts.

    Args:
        keypoints: (n, K, 3), x, y, v.
        areas: (n,), square pixels.
        skeleton: of K keypoints.
    """
    pairs = [(skeleton.keypoints.index(a), skeleton.keypoints.index(b)) for a, b in skeleton.flip_pairs]
    if len(pairs) < 2 or len(keypoints) < MIN_PERSONS:
        return _nobody()
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    scale = np.sqrt(np.maximum(areas, 1e-9))[:, None, None]
    labeled = (keypoints[:, left, 2] > 0) & (keypoints[:, right, 2] > 0)  # (n, J)
    vectors = (keypoints[:, left, :2] - keypoints[:, right, :2]) / scale * labeled[..., None]  # (n, J, 2)
    gains = np.full(labeled.shape, -np.inf)
    for j in range(len(pairs)):
        others = [i for i in range(len(pairs)) if i != j]
        usable = np.flatnonzero(labeled[:, j] & labeled[:, others].any(axis=1))
        if len(usable) < MIN_PERSONS:
            continue
        features = vectors[usable][:, others].reshape(len(usable), -1)
        target = vectors[usable, j]
        # Twice, so that the swapped ones do not spoil the model of the second turn.
        kept = np.ones(len(usable), dtype=bool)
        for _ in range(2):
            predicted = _predict(features, target, kept)
            residuals = np.linalg.norm(target - predicted, axis=1)
            # Of a normal distribution in two dimensions, half of the vectors are shorter than 1.1774 sigma.
            sigma = max(float(np.median(residuals[kept])) / 1.1774, 1e-6)
            gain = -2 * (target * predicted).sum(axis=1) / sigma**2
            fits = np.linalg.norm(target + predicted, axis=1) < _FITS * sigma
            suspected = (gain > _LOG_RATIO) & fits
            kept = ~suspected
        gains[usable, j] = np.where(suspected, gain, -np.inf)
    best = gains.argmax(axis=1)
    found = np.flatnonzero(np.isfinite(gains.max(axis=1)))
    order = found[np.argsort(-gains[found, best[found]], kind="stable")]
    return Suspects(order, tuple(pairs[best[person]] for person in order))


def turned_persons(keypoints: np.ndarray, areas: np.ndarray, skeleton: Skeleton) -> Suspects:
    """Persons whose left and right seem to be swapped as a whole, by their faces.

    Where nose and both eyes are visible, the person faces the camera, and going from the left shoulder to the
    right one to the head turns clockwise in the image, whichever way is up. A person is suspected where
    shoulders and eyes both turn the other way. Skeletons without these keypoints have nobody.

    Args:
        keypoints: (n, K, 3), x, y, v.
        areas: (n,), square pixels.
        skeleton: of K keypoints.
    """
    names = ("nose", "left_eye", "right_eye", "left_shoulder", "right_shoulder")
    if not set(names) <= set(skeleton.keypoints) or not len(keypoints):
        return _nobody()
    nose, *sides = (keypoints[:, skeleton.keypoints.index(name)] for name in names)
    left_eye, right_eye, left_shoulder, right_shoulder = sides
    visible = (np.stack([nose, left_eye, right_eye])[..., 2] == 2).all(axis=0)
    visible &= (left_shoulder[:, 2] > 0) & (right_shoulder[:, 2] > 0)
    up = (left_eye + right_eye - left_shoulder - right_shoulder)[:, :2] / 2
    turns = []
    for left, right in ((left_shoulder, right_shoulder), (left_eye, right_eye)):
        across = (right - left)[:, :2]
        turns.append((across[:, 0] * up[:, 1] - across[:, 1] * up[:, 0]) / np.maximum(areas, 1e-9))
    # Shoulders that are nearly above each other, as in a profile, say nothing.
    strength = np.where(visible & (turns[0] < -0.01) & (turns[1] < 0), -turns[0], 0)
    found = np.flatnonzero(strength)
    order = found[np.argsort(-strength[found], kind="stable")]
    meant = tuple(skeleton.keypoints.index(name) for name in names[1:])
    return Suspects(order, (meant,) * len(order))


def long_limbs(keypoints: np.ndarray, areas: np.ndarray, skeleton: Skeleton) -> Suspects:
    """Persons with a limb that is far too long beside their other limbs.

    The lengths of a person's limbs are compared with the dataset's medians of them; the median of these
    ratios is the person's scale, which neither boxes nor occlusion change. A limb is an outlier where it is,
    at this scale, twice as long as the median and beyond Tukey's outer fence (the third quartile and three
    interquartile ranges, of logarithms). Short limbs are none: they may point towards the camera.

    Args:
        keypoints: (n, K, 3), x, y, v.
        areas: (n,), square pixels.
        skeleton: of K keypoints.
    """
    limbs = np.array(skeleton.limb_indices, dtype=int).reshape(-1, 2)
    if len(limbs) < 3 or len(keypoints) < MIN_PERSONS:
        return _nobody()
    labeled = (keypoints[:, limbs, 2] > 0).all(axis=-1)  # (n, B)
    points = keypoints[:, limbs, :2]
    lengths = np.linalg.norm(points[:, :, 0] - points[:, :, 1], axis=-1)
    usable = labeled & (lengths > 0)
    usable &= (usable.sum(axis=1) >= 3)[:, None] & (usable.sum(axis=0) >= MIN_PERSONS)[None]
    if not usable.any():
        return _nobody()
    logs = np.where(usable, np.log(np.maximum(lengths, 1e-9)), np.nan)
    own = logs - np.log(np.sqrt(np.maximum(areas, 1e-9)))[:, None]
    typical = _over(own, np.nanmedian, axis=0)
    scale = _over(logs - typical, np.nanmedian, axis=1)
    excess = logs - typical - scale[:, None]
    excess = excess - _over(excess, np.nanmedian, axis=0)
    first, third = (
        _over(excess, lambda values, axis, q=q: np.nanquantile(values, q, axis=axis), axis=0)
        for q in (0.25, 0.75)
    )
    limit = np.maximum(third + _FENCE * (third - first), np.log(_EXCESS))
    over = np.where(usable & (excess > limit), excess, -np.inf)
    best = over.argmax(axis=1)
    found = np.flatnonzero(np.isfinite(over.max(axis=1)))
    order = found[np.argsort(-over[found, best[found]], kind="stable")]
    return Suspects(order, tuple((int(limbs[b, 0]), int(limbs[b, 1])) for b in best[order]))


def _predict(features: np.ndarray, target: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Predictions of a ridge regression on the kept rows; each of these is left out for its own.

    Args:
        features: (m, F).
        target: (m, 2).
        kept: (m,) bool.
    """
    own = features[kept]
    gram = own.T @ own + _RIDGE * len(own) * np.eye(own.shape[1])
    inverse = np.linalg.inv(gram)
    predicted = features @ (inverse @ (own.T @ target[kept]))
    leverage = np.einsum("ij,jk,ik->i", features, inverse, features).clip(0, 0.999)
    # The prediction without a row, from that with it.
    without = (predicted - leverage[:, None] * target) / (1 - leverage[:, None])
    return np.where(kept[:, None], without, predicted)


def _over(values: np.ndarray, reduce: Callable[..., np.ndarray], axis: int) -> np.ndarray:
    """A reduction that ignores NaN, silent where there is nothing else; NaN there."""
    with np.errstate(all="ignore"):
        empty = np.isnan(values).all(axis=axis, keepdims=True)
        reduced = reduce(np.where(empty, 0.0, values), axis=axis)
    return np.where(empty.squeeze(axis), np.nan, reduced)


def _nobody() -> Suspects:
    return Suspects(np.zeros(0, dtype=int), ())
