"""Measures the tracker on drawn films whose identities are known: :func:`measure_tracking`.

The detections are the ground truth with noise: no model is needed, and the figures depend on the seeds alone.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from posecore.data.synthetic.motion import FilmFrame, Walks, animate
from posecore.engine.markdown import markdown_table
from posecore.evaluation.tracking import TrackedFrame, TrackingMetrics, evaluate_tracks, tracked_frame
from posecore.inference.tracking import PoseTracker, TrackingSettings
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.skeleton import Skeleton, load_skeleton


@dataclasses.dataclass(frozen=True)
class DetectorNoise:
    """What a detector of poses does wrong.

    Attributes:
        position: standard deviation of a keypoint, in units of the square root of the person's box.
        misses: share of the persons that are not found.
        least_seen: a person of whom a smaller share of the keypoints is visible is never found.
        false_positives: expected number of poses per image that are no person.
    """

    position: float = 0.02
    misses: float = 0.1
    least_seen: float = 0.4
    false_positives: float = 0.05


DEFAULT = DetectorNoise()


def noisy_detections(frame: FilmFrame, rng: np.random.Generator, noise: DetectorNoise = DEFAULT) -> Instances:
    """The detections that a detector with such noise might make of an image.

    Args:
        frame: of a drawn film.
        rng: decides what goes wrong.
        noise: how much goes wrong.

    Returns:
        pred_keypoints (M, K, 3), pred_boxes and scores, in a random order.
    """
    size = frame.image.shape[:2]
    poses = []
    for person, keypoints in zip(frame.people, frame.keypoints, strict=True):
        seen = np.mean(np.array(person["keypoints"][2::3]) == 2)
        if seen >= noise.least_seen and rng.random() >= noise.misses:
            poses.append(keypoints)
    if len(frame.keypoints):
        for _ in range(rng.poisson(noise.false_positives)):
            shape = frame.keypoints[rng.integers(len(frame.keypoints))]
            poses.append(shape - shape.mean(axis=0) + rng.uniform(0, size[::-1]))
    count = frame.keypoints.shape[1]
    points = np.array([poses[index] for index in rng.permutation(len(poses))]).reshape(-1, count, 2)
    sides = np.ptp(points, axis=1) if len(points) else np.zeros((0, 2))
    sigma = noise.position * np.sqrt(sides.prod(axis=1))
    points = (points + rng.normal(0, 1, points.shape) * sigma[:, None, None]).clip(0, size[::-1])
    keypoints = torch.tensor(np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=2)).float()
    return Instances(
        size,
        pred_keypoints=keypoints,
        pred_boxes=Boxes(enclosing_boxes(keypoints[..., :2]) if len(keypoints) else torch.zeros(0, 4)),
        scores=torch.full((len(keypoints),), 0.9),
    )


def detected_film(
    skeleton: Skeleton,
    *,
    num_frames: int,
    seed: int,
    walks: Walks,
    size: tuple[int, int] = (120, 160),
    noise: DetectorNoise = DEFAULT,
) -> list[tuple[FilmFrame, Instances]]:
    """A drawn film, with noisy detections of each image; arguments as for the functions that make both."""
    rng = np.random.default_rng(seed)
    frames = animate(num_frames=num_frames, size=size, skeleton=skeleton, seed=seed, walks=walks)
    return [(frame, noisy_detections(frame, rng, noise)) for frame in frames]


def track_film(
    skeleton: Skeleton, film: Sequence[tuple[FilmFrame, Instances]], settings: TrackingSettings
) -> list[TrackedFrame]:
    """What the tracker makes of the detections of a film (:func:`detected_film`), beside the ground truth."""
    tracker = PoseTracker(skeleton, settings)
    frames = []
    for frame, poses in film:
        ids = tracker.update(poses, frame.time)
        labeled = np.array([person["keypoints"] for person in frame.people], dtype=float)
        labeled = labeled.reshape(-1, skeleton.num_keypoints, 3)
        labeled[..., :2] = frame.keypoints
        areas = np.array([person["area"] for person in frame.people], dtype=float)
        people = [person["track_id"] for person in frame.people]
        frames.append(
            tracked_frame(people, labeled, areas, ids.tolist(), poses.pred_keypoints.numpy(), skeleton)
        )
    return frames


def measure_tracking(
    *,
    skeleton: str = "coco_17",
    num_frames: int,
    people: int,
    seeds: Sequence[int],
    patience: Sequence[float],
) -> dict[float, TrackingMetrics]:
    """Prints a table with the measures over the films of all seeds, a row for each patience.

    Args:
        skeleton: name or path, as for :func:`posecore.structures.skeleton.load_skeleton`.
        num_frames: of each film, at 25 images per second.
        people: who walk in each film.
        seeds: a film each.
        patience: seconds that a lost person is waited for.
    """
    kind = load_skeleton(skeleton)
    frames: dict[float, list[TrackedFrame]] = {seconds: [] for seconds in patience}
    for index, seed in enumerate(seeds):
        film = detected_film(kind, num_frames=num_frames, seed=seed, walks=Walks(people=people))
        for seconds in patience:
            tracked = track_film(kind, film, TrackingSettings(patience=seconds))
            frames[seconds] += [_apart(frame, index * 10**6) for frame in tracked]
    results = {seconds: evaluate_tracks(tracked) for seconds, tracked in frames.items()}
    rows = [
        [f"{seconds:g}", *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row)]
        for seconds, row in ((seconds, dataclasses.astuple(metrics)) for seconds, metrics in results.items())
    ]
    names = [field.name.replace("_", " ") for field in dataclasses.fields(TrackingMetrics)]
    print(markdown_table(["patience s", *names], rows))
    return results


def _apart(frame: TrackedFrame, offset: int) -> TrackedFrame:
    """The frame with identities that no other film has."""
    return TrackedFrame(frame.gt_ids + offset, frame.ids + offset, frame.similarities)
