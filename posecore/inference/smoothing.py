"""Smooths the keypoints of tracked persons over time: :class:`PoseSmoother`, with the One-Euro filter.

G. Casiez, N. Roussel, D. Vogel: 1 Euro Filter, CHI 2012. Each coordinate goes through a low-pass filter whose
cutoff frequency grows with the speed of the point, cutoff = min_cutoff + beta |speed|: a point at rest does
not tremble, and a fast one does not lag behind. Speeds are in units of the person's size (the square root of
the box's area) per second here, so that ``beta`` does not depend on the size of the image.
"""

import math
from dataclasses import dataclass

import torch
from detectron2.structures import Instances
from torch import Tensor


@dataclass(frozen=True)
class SmoothingSettings:
    """How much keypoints are smoothed.

    Attributes:
        min_cutoff: the cutoff frequency of points at rest, hertz; less smooths more, and lags more.
        beta: how much it grows with a point's speed, hertz per (person's size per second); more lags less.
        speed_cutoff: the cutoff frequency of the speed itself, hertz.
        gap: a person who was not seen for longer, seconds, is smoothed anew.

    Raises:
        ValueError: a value is out of its range; names it.
    """

    min_cutoff: float = 1.0
    beta: float = 5.0
    speed_cutoff: float = 1.0
    gap: float = 0.25

    def __post_init__(self) -> None:
        for name in ("min_cutoff", "speed_cutoff", "gap"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} of the smoothing must be above 0, not {getattr(self, name)}")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta of the smoothing must be 0 or more, not {self.beta}")


DEFAULT = SmoothingSettings()


@dataclass(frozen=True)
class _State:
    """A person's filter: points (K, 2), speeds (K, 2) per second, and the time of both, seconds."""

    points: Tensor
    speeds: Tensor
    time: float


class PoseSmoother:
    """Smooths the persons of one video; a new video needs a new smoother.

    Args:
        settings: how much keypoints are smoothed.
    """

    def __init__(self, settings: SmoothingSettings = DEFAULT) -> None:
        self.settings = settings
        self._states: dict[int, _State] = {}

    def update(self, poses: Instances, time: float) -> Tensor:
        """The smoothed keypoints of the persons in the next image.

        Args:
            poses: pred_keypoints (M, K, 3), pred_boxes, and track_ids (M,) of
                :class:`~posecore.inference.tracking.PoseTracker`.
            time: of the image, seconds, after that of the image before.

        Returns:
            (M, K, 3): smoothed x and y, and the predicted confidence. A person without an identity, and one
            in its first image or behind a gap, is as it was predicted.
        """
        smoothed = poses.pred_keypoints.clone()
        sizes = poses.pred_boxes.area().clamp(min=1).sqrt()
        for index, identity in enumerate(poses.track_ids.tolist()):
            if identity:
                points = poses.pred_keypoints[index, :, :2]
                state = self._next(self._states.get(identity), points, float(sizes[index]), time)
                self._states[identity] = state
                smoothed[index, :, :2] = state.points
        self._states = {
            identity: state
            for identity, state in self._states.items()
            if time - state.time <= self.settings.gap
        }
        return smoothed

    def _next(self, state: _State | None, points: Tensor, size: float, time: float) -> _State:
        """The state behind a measurement (algorithm 1 of the paper), with the time between the images."""
        if state is None or time - state.time > self.settings.gap:
            return _State(points, torch.zeros_like(points), time)
        step = time - state.time
        points = torch.where(points.isfinite(), points, state.points)
        speeds = state.speeds + _share(self.settings.speed_cutoff, step) * (
            (points - state.points) / step - state.speeds
        )
        cutoffs = self.settings.min_cutoff + self.settings.beta * speeds.norm(dim=1, keepdim=True) / size
        return _State(state.points + _share(cutoffs, step) * (points - state.points), speeds, time)


def _share(cutoff: Tensor | float, step: float) -> Tensor | float:
    """The share of a new value in a low-pass filter: 1 / (1 + tau / step) with tau = 1 / (2 pi cutoff)."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * step))
