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
# The least variance in any direction, in shares of the mean one.
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
    labeled pairs, by a normal distribution of all vectors that is fitted to the dataset. A pair is suspected
    where the swapped vector is exp(10) times as likely as the labeled one, and fits within three standard
    deviations. Where arms or legs are often crossed, the spread is wide, and nobody is suspected for it. Of
    several pairs of a person the most unlikely one counts.

    Args:
        keypoints: (n, K, 3), x, y, v.
        areas: (n,), square pixels.
        skeleton: of K keypoints.
    """
    pairs = [(skeleton.keypoints.index(a), skeleton.keypoints.index(b)) for a, b in skeleton.flip_pairs]
    if len(pairs) < 2 or len(keypoints) < MIN_PERSONS:
        return _nobody()
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    labeled = (keypoints[:, left, 2] > 0) & (keypoints[:, right, 2] > 0)  # (n, J)
    scale = np.sqrt(np.maximum(areas, 1e-9))[:, None, None]
    vectors = (keypoints[:, left, :2] - keypoints[:, right, :2]) / scale * labeled[..., None]  # (n, J, 2)
    # Twice, so that the swapped ones do not spoil the distribution of the second turn.
    kept = np.ones(len(vectors), dtype=bool)
    for _ in range(2):
        gains = _gains(vectors, labeled, kept)
        kept = ~np.isfinite(gains).any(axis=1)
    best = gains.argmax(axis=1)
    found = np.flatnonzero(~kept)
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


def _gains(vectors: np.ndarray, labeled: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """By how much the logarithm of the likelihood grows where a pair is swapped.

    Args:
        vectors: (n, J, 2), 0 where a pair is not labeled.
        labeled: (n, J) bool.
        kept: (n,) bool, the persons that the distribution is fitted to.

    Returns:
        (n, J); minus infinity where a pair is not suspected.
    """
    predicted, precisions = conditional(vectors, labeled, second_moments(vectors[kept], labeled[kept]))

    def squared(differences: np.ndarray) -> np.ndarray:
        return np.einsum("nji,njik,njk->nj", differences, precisions, differences)

    as_labeled, swapped = squared(vectors - predicted), squared(vectors + predicted)
    usable = labeled & (labeled.sum(axis=1) > 1)[:, None]
    gains = np.full(labeled.shape, -np.inf)
    for j in range(labeled.shape[1]):
        rows = usable[:, j]
        if (rows & kept).sum() >= MIN_PERSONS:
            # In two dimensions, half of the squared distances of a normal distribution are below 1.386.
            spread = max(float(np.median(as_labeled[rows & kept, j])) / 1.386, 1e-9)
            gain, distance = (as_labeled - swapped)[rows, j] / 2 / spread, swapped[rows, j] / spread
            gains[rows, j] = np.where((gain > _LOG_RATIO) & (distance < _FITS**2), gain, -np.inf)
    return gains


def second_moments(vectors: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """The mean products of the coordinates of pairs, each over the persons that have both.

    There is no mean to subtract: in a flipped image, every vector points the other way.

    Args:
        vectors: (n, J, 2), 0 where a pair is not labeled.
        labeled: (n, J) bool.

    Returns:
        (2J, 2J), positive definite.
    """
    flat, present = vectors.reshape(len(vectors), -1), np.repeat(labeled, 2, axis=1).astype(float)
    moments = flat.T @ flat / np.maximum(present.T @ present, 1)
    values, axes = np.linalg.eigh(moments)
    # Moments of different persons may contradict each other.
    least = max(_RIDGE * float(values.mean()), 1e-12)
    return (axes * np.maximum(values, least)) @ axes.T


def conditional(
    vectors: np.ndarray, labeled: np.ndarray, moments: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The normal distribution of each pair's vector, given the person's other labeled pairs.

    Args:
        vectors: (n, J, 2).
        labeled: (n, J) bool.
        moments: (2J, 2J), of :func:`second_moments`.

    Returns:
        The means (n, J, 2) and the inverse covariances (n, J, 2, 2); 0 where a pair is not labeled.
    """
    means = np.zeros_like(vectors)
    precisions = np.zeros((*vectors.shape, 2))
    patterns, pattern_of = np.unique(labeled, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        pairs, rows = np.flatnonzero(pattern), np.flatnonzero(pattern_of.ravel() == number)
        if not len(pairs):
            continue
        places = np.flatnonzero(np.repeat(pattern, 2))
        precision = np.linalg.inv(moments[np.ix_(places, places)])
        own = vectors[rows][:, pairs].reshape(len(rows), -1)
        products = (own @ precision).reshape(len(rows), len(pairs), 2)
        every = np.arange(len(pairs))
        blocks = precision.reshape(len(pairs), 2, len(pairs), 2)[every, :, every]  # (pairs, 2, 2)
        chosen = np.ix_(rows, pairs)
        # The mean given the others: the vector without the share that its own block has in the products.
        means[chosen] = vectors[chosen] - np.einsum("jik,njk->nji", np.linalg.inv(blocks), products)
        precisions[chosen] = blocks
    return means, precisions


def _over(values: np.ndarray, reduce: Callable[..., np.ndarray], axis: int) -> np.ndarray:
    """A reduction that ignores NaN, silent where there is nothing else; NaN there."""
    with np.errstate(all="ignore"):
        empty = np.isnan(values).all(axis=axis, keepdims=True)
        reduced = reduce(np.where(empty, 0.0, values), axis=axis)
    return np.where(empty.squeeze(axis), np.nan, reduced)


def _nobody() -> Suspects:
    return Suspects(np.zeros(0, dtype=int), ())
