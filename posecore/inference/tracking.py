"""Gives the persons of a video identities from image to image: :class:`PoseTracker`.

A Kalman filter with constant velocity predicts a track's center, the mean of its keypoints, at the time of
the next image (for boxes in SORT, Bewley et al., ICIP 2016); the pose about the center stays the last one.
The Hungarian method matches predictions and detections.

The similarity of both is COCO's OKS with one addition: the variance P of the predicted center, which grows
while a person is lost, is added to that of each keypoint, v = a (2 s)^2, so that the mean is taken of
exp(-d^2 / (2 (v + P))). The match is the one with the greatest sum of these terms times v / (v + P), the
densities of such errors, so that an uncertain prediction does not take the detection of a certain one. Pairs
whose centers are further apart than the filter expects (Mahalanobis distance, as in DeepSORT, Wojke et al.,
ICIP 2017) are no match.

All is deterministic. Times, not numbers of images, decide how far a person moves and how long a lost one is
waited for, so that the rate of a video may vary.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.structures import Instances
from scipy.optimize import linear_sum_assignment

from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import Skeleton

# The greatest squared Mahalanobis distance of two centers: 99.9 % of chi-squared with 2 degrees of freedom.
_GATE = 13.8
# Noises of the filter, in units of a person's size (the square root of its area): the standard deviation of a
# measured center (to which a pixel is added), that of a new track's velocity (per second), and the density of
# the white noise that accelerates persons (per second^1.5).
_MEASURED = 0.06
_VELOCITY = 1.5
_ACCELERATION = 0.7


@dataclass(frozen=True)
class TrackingSettings:
    """How persons are followed.

    Attributes:
        similarity: least OKS of a detection and the prediction of its track, in [0, 1].
        hits: images, one after the other, in which a new person must be found to get an identity; until
            then it has none.
        patience: how long a lost person is waited for, seconds; one that comes back later is a new one.

    Raises:
        ValueError: a value is out of its range; names it.
    """

    similarity: float = 0.3
    hits: int = 2
    patience: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.similarity <= 1:
            raise ValueError(f"the least similarity of a track must be from 0 to 1, not {self.similarity}")
        if self.hits < 1:
            raise ValueError(f"the images before a person has an identity must be 1 or more, not {self.hits}")
        if not 0 <= self.patience < math.inf:
            raise ValueError(
                f"the seconds that a lost person is waited for must be 0 or more, not {self.patience}"
            )


DEFAULT = TrackingSettings()


@dataclass
class _Track:
    """A person.

    Attributes:
        center: (2,), filtered, pixels.
        velocity: (2,), pixels per second.
        covariance: (2, 2) of position and velocity, the same for x and y.
        shape: (K, 2), the last pose relative to its center.
        area: of the person in its last image, square pixels.
        time: of the filter's state, seconds.
        seen: when the person was seen last, seconds.
        hits: images in which it was found.
        identity: 0 for none yet.
    """

    center: np.ndarray
    velocity: np.ndarray
    covariance: np.ndarray
    shape: np.ndarray
    area: float
    time: float
    seen: float
    hits: int = 1
    identity: int = 0

    def predict(self, time: float, limit: np.ndarray) -> None:
        """Moves the state to a later time; the center stays inside the image, (width, height)."""
        step = time - self.time
        self.time = time
        advance = np.array([[1, step], [0, 1]])
        noise = _ACCELERATION**2 * self.area * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
        self.covariance = advance @ self.covariance @ advance.T + noise
        moved = self.center + step * self.velocity
        # A person who walks out of the image is waited for where it left.
        self.center = moved.clip(0, limit)
        self.velocity = np.where(self.center == moved, self.velocity, 0)

    def correct(self, pose: np.ndarray, area: float) -> None:
        """Takes over the detection of the state's time, (K, 2)."""
        center = pose.mean(axis=0)
        gain = self.covariance[:, 0] / (self.covariance[0, 0] + _measured(area))
        error = center - self.center
        self.center = self.center + gain[0] * error
        self.velocity = self.velocity + gain[1] * error
        self.covariance = self.covariance - np.outer(gain, self.covariance[0])
        self.shape, self.area = pose - center, area
        self.seen = self.time
        self.hits += 1


class PoseTracker:
    """Follows persons through one video; a new video needs a new tracker.

    Args:
        skeleton: of the poses.
        settings: how persons are followed.

    Example::

        tracker = PoseTracker(skeleton)
        for frame in source.read():
            poses = predictor(frame.image)
            poses.track_ids = tracker.update(poses, frame.time)
    """

    def __init__(self, skeleton: Skeleton, settings: TrackingSettings = DEFAULT) -> None:
        self.settings = settings
        self._variances = np.square(2 * np.array(skeleton.sigmas))
        self._tracks: list[_Track] = []
        self._identities = 0
        self._time = -math.inf

    def update(self, poses: Instances, time: float) -> torch.Tensor:
        """The identities of the persons in the next image.

        Args:
            poses: pred_keypoints (M, K, 3) and pred_boxes, pixels.
            time: of the image, seconds, after that of the image before.

        Returns:
            (M,) int64, numbers from 1 in the order in which persons were first followed, the same for the
            same person; 0 for a person without an identity yet.

        Raises:
            ValueError: the image is not later than the one before.
        """
        if not time > self._time:
            raise ValueError(f"the image at {time} s must be later than the one before, at {self._time} s")
        points = poses.pred_keypoints[:, :, :2].double().cpu().numpy()
        areas = AREA_OF_BOX * poses.pred_boxes.area().double().cpu().numpy().clip(min=1)
        limit = np.array(poses.image_size[::-1], dtype=float)
        for track in self._tracks:
            track.predict(time, limit)
        owners: list[_Track | None] = [None] * len(points)
        for track, index in self._match(points, areas):
            track.correct(points[index], areas[index])
            owners[index] = track
        self._time = time
        self._tracks = [track for track in self._tracks if self._stays(track)]
        for index, owner in enumerate(owners):
            if owner is None and np.isfinite(points[index]).all():
                owners[index] = self._begin(points[index], areas[index])
        for track in self._tracks:
            if not track.identity and track.hits >= self.settings.hits:
                self._identities += 1
                track.identity = self._identities
        return torch.tensor([owner.identity if owner else 0 for owner in owners], dtype=torch.int64)

    def _match(self, points: np.ndarray, areas: np.ndarray) -> list[tuple[_Track, int]]:
        """Pairs of tracks and indices of detections."""
        if not self._tracks or not len(points):
            return []
        predicted = np.stack([track.shape + track.center for track in self._tracks])
        added = np.array([track.covariance[0, 0] for track in self._tracks])
        track_areas = np.array([track.area for track in self._tracks])
        variances = (track_areas[:, None] + areas)[..., None] / 2 * self._variances
        spread = variances + added[:, None, None]
        distances = np.square(predicted[:, None] - points).sum(axis=-1)
        similar = np.exp(-distances / (2 * spread))
        likely = (similar * variances / spread).mean(axis=-1)
        similar = similar.mean(axis=-1)
        # The distance of the centers in standard deviations of what the filter expects.
        errors = np.square(predicted.mean(axis=1)[:, None] - points.mean(axis=1)).sum(axis=-1)
        near = errors <= _GATE * (added + _measured(track_areas))[:, None]
        allowed = near & (similar >= self.settings.similarity)
        scores = np.where(allowed, 1e-3 + likely, 0)
        rows, columns = linear_sum_assignment(scores, maximize=True)
        return [
            (self._tracks[row], int(column))
            for row, column in zip(rows, columns, strict=True)
            if allowed[row, column]
        ]

    def _begin(self, pose: np.ndarray, area: float) -> _Track:
        center = pose.mean(axis=0)
        covariance = np.diag([_measured(area), _VELOCITY**2 * area])
        track = _Track(center, np.zeros(2), covariance, pose - center, area, self._time, self._time)
        self._tracks.append(track)
        return track

    def _stays(self, track: _Track) -> bool:
        """Whether a track is kept: a person without an identity is not waited for."""
        waited = self._time - track.seen
        return waited == 0 or (track.identity > 0 and waited <= self.settings.patience)


def _measured(area: float | np.ndarray) -> float | np.ndarray:
    """The variance of a measured center, square pixels."""
    return _MEASURED**2 * area + 1
