"""The One-Euro filter of keypoints."""

import itertools
import math

import pytest
import torch
from detectron2.structures import Boxes, Instances

from posecore.inference.smoothing import PoseSmoother, SmoothingSettings


def pose(points: torch.Tensor, identity: int = 1) -> Instances:
    """One person of size 100 with keypoints (K, 2)."""
    keypoints = torch.cat([points, torch.full((len(points), 1), 0.5)], dim=1)[None]
    box = Boxes(torch.tensor([[0.0, 0, 100, 100]]))
    ids = torch.tensor([identity])
    return Instances((200, 200), pred_keypoints=keypoints, pred_boxes=box, track_ids=ids)


def oracle(values: list[float], times: list[float], settings: SmoothingSettings, size: float) -> list[float]:
    """Algorithms 1 and 2 of the paper for one coordinate that alone moves, number by number."""

    def alpha(cutoff: float, step: float) -> float:
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / step)

    smooth, speed, results = values[0], 0.0, [values[0]]
    for (before, now), value in zip(itertools.pairwise(times), values[1:], strict=True):
        step = now - before
        share = alpha(settings.speed_cutoff, step)
        speed = share * (value - smooth) / step + (1 - share) * speed
        share = alpha(settings.min_cutoff + settings.beta * abs(speed) / size, step)
        smooth = share * value + (1 - share) * smooth
        results.append(smooth)
    return results


def test_it_is_the_filter_of_the_paper() -> None:
    settings = SmoothingSettings(min_cutoff=0.8, beta=3.0, speed_cutoff=1.2)
    values = (50 + 20 * torch.randn(30)).tolist()
    times = torch.cumsum(torch.rand(30) * 0.05 + 0.01, 0).tolist()
    smoother = PoseSmoother(settings)
    found = [
        smoother.update(pose(torch.tensor([[value, 7.0]])), time)[0, 0].tolist()
        for value, time in zip(values, times, strict=True)
    ]
    assert [x for x, _, _ in found] == pytest.approx(oracle(values, times, settings, 100), rel=1e-4)
    assert all(y == pytest.approx(7) and score == 0.5 for _, y, score in found)


def test_trembling_is_damped_and_a_step_is_followed() -> None:
    smoother = PoseSmoother()
    noise = torch.randn(100, 17, 2)
    rest = torch.stack([smoother.update(pose(50 + noise[i]), i / 25)[0, :, :2] for i in range(100)])
    assert rest[50:].std(dim=0).mean() < 0.4 * noise[50:].std(dim=0).mean()
    moved = [smoother.update(pose(torch.full((17, 2), 150.0)), 4 + i / 25)[0, 0, 0] for i in range(8)]
    assert moved[-1] > 145


def test_time_counts_and_not_images() -> None:
    """A constant is reached alike by many images and by few."""
    ends = []
    for rate in (25, 100):
        smoother = PoseSmoother(SmoothingSettings(beta=0.0))
        smoother.update(pose(torch.zeros(1, 2)), 0.0)
        for number in range(1, rate // 2 + 1):
            smoothed = smoother.update(pose(torch.full((1, 2), 10.0)), number / rate)
        ends.append(float(smoothed[0, 0, 0]))
    assert ends[0] == pytest.approx(ends[1], rel=0.03)


def test_a_gap_and_another_person_start_anew() -> None:
    smoother = PoseSmoother()
    smoother.update(pose(torch.zeros(2, 2)), 0.0)
    far = torch.full((2, 2), 30.0)
    assert smoother.update(pose(far, identity=2), 0.04)[0, :, :2].equal(far)
    assert smoother.update(pose(far), 0.2)[0, 0, 0] < 30
    assert smoother.update(pose(torch.zeros(2, 2)), 1.0)[0, :, :2].equal(torch.zeros(2, 2))


def test_a_person_without_an_identity_is_as_predicted() -> None:
    smoother = PoseSmoother()
    for number in range(3):
        points = torch.randn(4, 2)
        assert smoother.update(pose(points, identity=0), number / 25)[0, :, :2].equal(points)
    nobody = pose(torch.zeros(4, 2))[torch.tensor([False])]
    assert smoother.update(nobody, 1.0).shape == (0, 4, 3)


def test_a_keypoint_that_is_not_finite_leaves_no_trace() -> None:
    smoother = PoseSmoother()
    smoother.update(pose(torch.full((1, 2), 5.0)), 0.0)
    assert smoother.update(pose(torch.tensor([[math.nan, 5.0]])), 0.04)[0, 0, 0] == 5
    assert smoother.update(pose(torch.full((1, 2), 5.0)), 0.08)[0, 0, 0] == 5


@pytest.mark.parametrize(
    "values", [{"min_cutoff": 0.0}, {"beta": -1.0}, {"speed_cutoff": math.inf}, {"gap": 0.0}]
)
def test_settings_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        SmoothingSettings(**values)
