"""The tracker of poses, on drawn figures whose identities are known."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from helpers.skeletons import DOG

from posecore.benchmarks.tracking import DetectorNoise, detected_film, track_film
from posecore.data.synthetic.motion import Walks
from posecore.evaluation.tracking import evaluate_tracks
from posecore.inference.tracking import PoseTracker, TrackingSettings
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.skeleton import Skeleton, load_skeleton

COCO = load_skeleton("coco_17")
SIZE = (240, 320)
SHAPE = np.stack(
    [np.linspace(-12, 12, 17), np.linspace(-40, 40, 17)[[0, 5, 1, 7, 3, *range(8, 17), 2, 4, 6]]], 1
)


def poses(centers: Sequence[tuple[float, float]], shape: np.ndarray = SHAPE) -> Instances:
    points = torch.tensor(np.array([shape + center for center in centers]).reshape(-1, *shape.shape)).float()
    boxes = enclosing_boxes(points) if len(points) else torch.zeros(0, 4)
    keypoints = torch.cat([points, torch.ones(*points.shape[:2], 1)], dim=2)
    return Instances(SIZE, pred_keypoints=keypoints, pred_boxes=Boxes(boxes), scores=torch.ones(len(points)))


def follow(
    tracker: PoseTracker, path: Sequence[Sequence[tuple[float, float]]], rate: float = 25
) -> list[list]:
    """The identities of each image; in every other image the persons are given from last to first."""
    found = []
    for number, centers in enumerate(path):
        order = slice(None, None, -1 if number % 2 else 1)
        found.append(tracker.update(poses(centers[order]), number / rate).tolist()[order])
    return found


def test_nobody_then_somebody_then_nobody() -> None:
    tracker = PoseTracker(COCO)
    found = follow(tracker, [[], [(100, 100)], [(101, 100)], [(102, 100)], []])
    assert found == [[], [0], [1], [1], []]


def test_persons_that_pass_each_other_keep_their_identities() -> None:
    """Two walk through each other; where they cross, only one is found for half a second."""
    path = []
    for number in range(75):
        left, right = 40 + 3.2 * number, 280 - 3.2 * number
        path.append([(left, 120.0), (right, 124.0)] if abs(left - right) > 40 else [(left, 120.0)])
    found = follow(PoseTracker(COCO), path)
    assert found[2] == [1, 2]
    assert found[-1] == [1, 2]
    assert {tuple(ids) for ids in found[2:]} == {(1, 2), (1,)}


@pytest.mark.parametrize(("away", "identity"), [(1.0, 1), (2.5, 2)])
def test_a_person_comes_back(away: float, identity: int) -> None:
    """A person walks out to the right and comes back from there, within the patience or after it."""
    out = [[(200 + 4.0 * number, 120.0)] for number in range(25)]
    back = [[(296 - 4.0 * number, 120.0)] for number in range(10)]
    found = follow(PoseTracker(COCO), [*out, *[[]] * round(25 * away), *back])
    assert found[24] == [1]
    assert found[-1] == [identity]


def test_times_count_and_not_images() -> None:
    """The same walk at a rate that varies, and with images that are lacking."""
    tracker = PoseTracker(COCO)
    times = np.cumsum([0.0, *np.random.default_rng(0).choice([0.02, 0.04, 0.2], 40)])
    found = [tracker.update(poses([(60 + 40 * t, 100), (60 + 40 * t, 160)]), t).tolist() for t in times]
    assert {tuple(ids) for ids in found[1:]} == {(1, 2)}
    with pytest.raises(ValueError, match=r"must be later than the one before"):
        tracker.update(poses([]), times[-1])


def test_a_single_false_detection_gets_no_identity() -> None:
    path = [[(100.0, 120.0)] for _ in range(6)]
    path[3] = [(100.0, 120.0), (250.0, 60.0)]
    assert follow(PoseTracker(COCO), path)[3] == [1, 0]
    assert follow(PoseTracker(COCO, TrackingSettings(hits=1)), path)[3] == [1, 2]


def test_what_is_not_finite_is_not_followed() -> None:
    tracker = PoseTracker(COCO)
    broken = poses([(100, 100), (200, 100)])
    for time in (0.0, 0.04, 0.08):
        broken.pred_keypoints[1, 3, 0] = float("nan")
        assert tracker.update(broken, time).tolist() == [int(time > 0), 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [({"similarity": 1.5}, "from 0 to 1"), ({"hits": 0}, "1 or more"), ({"patience": -1.0}, "0 or more")],
)
def test_settings_out_of_range(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackingSettings(**values)


@pytest.mark.parametrize("skeleton", [COCO, DOG, load_skeleton("coco_wholebody_133")], ids=lambda s: s.name)
def test_drawn_figures(skeleton: Skeleton) -> None:
    """Figures that walk and cross, found with noise and misses: few switches, and always the same ones."""
    film = detected_film(
        skeleton,
        num_frames=40,
        seed=3,
        walks=Walks(people=2, speed=(0.15, 0.25)),
        size=(96, 128),
        noise=DetectorNoise(position=0.01),
    )
    tracked, again = (track_film(skeleton, film, TrackingSettings()) for _ in range(2))
    metrics = evaluate_tracks(tracked)
    assert metrics.persons > 25
    assert metrics.switches <= 1
    assert metrics.idf1 > 0.7
    assert all(one.ids.tolist() == same.ids.tolist() for one, same in zip(tracked, again, strict=True))
