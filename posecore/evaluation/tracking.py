"""Measures how well persons are followed through videos: :func:`evaluate_tracks`, :class:`TrackingMetrics`.

The similarity of a tracked pose and a person of the ground truth is COCO's OKS. The measures are

* CLEAR MOT (Bernardin and Stiefelhagen, EURASIP JIVP 2008): MOTA = 1 - (misses + false positives + identity
  switches) / persons. A person keeps its last match while their OKS is at least a threshold, then the
  Hungarian method matches the others; a switch is a match with another identity than that of the person's
  last one, a fragment a gap between two matched stretches of a person;
* IDF1 (Ristani et al., ECCV workshops 2016): F1 of the persons whose identity is the one that fits the whole
  ground-truth track best;
* HOTA (Luiten et al., IJCV 2021): the geometric mean of the accuracies of detection and association, and its
  mean over the thresholds 0.05, 0.10, ... 0.95.

A pose without an identity is left out; the person then counts as missed.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import linear_sum_assignment

from posecore.data.formats.areas import is_area
from posecore.data.formats.document import (
    Box,
    Coordinate,
    Entry,
    FileName,
    Id,
    Number,
    entry_name,
    load_json,
    short,
    validated,
)
from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.oks import oks
from posecore.structures.skeleton import Skeleton, load_skeleton

logger = logging.getLogger(__name__)

THRESHOLD = 0.5
_HOTA_THRESHOLDS = np.arange(1, 20) / 20


@dataclass(frozen=True)
class TrackedFrame:
    """The ground truth and the tracked poses of one image.

    Attributes:
        gt_ids: (G,) whole numbers, the same for the same person of a video, and different between videos.
        ids: (M,) likewise of the tracked poses.
        similarities: (G, M) OKS.
    """

    gt_ids: np.ndarray
    ids: np.ndarray
    similarities: np.ndarray


@dataclass(frozen=True)
class TrackingMetrics:
    """How well persons are followed.

    Attributes:
        persons: of the ground truth, over all images.
        misses: persons without a tracked pose.
        false_positives: tracked poses without a person.
        switches: of identities.
        fragments: gaps in followed persons.
        mota: at most 1.
        idf1: from 0 to 1.
        hota: from 0 to 1.
    """

    persons: int
    misses: int
    false_positives: int
    switches: int
    fragments: int
    mota: float
    idf1: float
    hota: float

    def __str__(self) -> str:
        return (
            f"{self.persons} persons, {self.misses} missed, {self.false_positives} false positives, "
            f"{self.switches} switches, {self.fragments} fragments, MOTA {100 * self.mota:.1f} %, "
            f"IDF1 {100 * self.idf1:.1f} %, HOTA {100 * self.hota:.1f} %"
        )


def tracked_frame(
    gt_ids: Sequence[int],
    gt_keypoints: np.ndarray,
    gt_areas: np.ndarray,
    ids: Sequence[int],
    keypoints: np.ndarray,
    skeleton: Skeleton,
) -> TrackedFrame:
    """A frame of poses.

    Args:
        gt_ids: (G,).
        gt_keypoints: (G, K, 3), pixels and COCO's visibility flag; a person without a labeled one is left
            out.
        gt_areas: (G,), square pixels.
        ids: (M,), 0 for none.
        keypoints: (M, K, 2 or more), pixels.
        skeleton: has the constants of OKS.
    """
    labeled = (gt_keypoints[..., 2] > 0).any(axis=1)
    followed = np.asarray(ids, dtype=int) > 0
    people = torch.as_tensor(gt_keypoints[labeled]).double()
    poses = torch.as_tensor(keypoints[followed][..., :2]).double()
    areas = torch.as_tensor(gt_areas[labeled]).double()
    sigmas = torch.tensor(skeleton.sigmas, dtype=torch.float64)
    similarities = oks(poses, people[..., :2], areas, sigmas, people[..., 2] > 0).T
    return TrackedFrame(
        np.asarray(gt_ids, dtype=int)[labeled], np.asarray(ids, dtype=int)[followed], similarities.numpy()
    )


def evaluate_tracks(frames: Iterable[TrackedFrame], threshold: float = THRESHOLD) -> TrackingMetrics:
    """The measures of all frames, those of a video in their order.

    Args:
        frames: of one video or of several, one after the other.
        threshold: least OKS of a person and its match, for all measures but HOTA.
    """
    frames = list(frames)
    persons = sum(len(frame.gt_ids) for frame in frames)
    poses = sum(len(frame.ids) for frame in frames)
    identities: dict[int, int] = {}  # the last match of each person
    followed: dict[int, list[bool]] = defaultdict(list)
    matches = switches = 0
    for frame in frames:
        pairs = _clear_matches(frame, identities, threshold)
        for person, identity in pairs.items():
            switches += identities.get(person, identity) != identity
            identities[person] = identity
        matches += len(pairs)
        for person in frame.gt_ids.tolist():
            followed[person].append(person in pairs)
    misses, false_positives = persons - matches, poses - matches
    return TrackingMetrics(
        persons=persons,
        misses=misses,
        false_positives=false_positives,
        switches=switches,
        fragments=sum(_gaps(states) for states in followed.values()),
        mota=1 - (misses + false_positives + switches) / max(persons, 1),
        idf1=2 * _identity_matches(frames, threshold) / max(persons + poses, 1),
        hota=_hota(frames),
    )


def evaluate_track_files(
    ground_truth: Path, poses: Path, skeleton: str | Path = "coco_17", threshold: float = THRESHOLD
) -> TrackingMetrics:
    """The measures of a prediction on videos.

    Args:
        ground_truth: in COCO's format for videos: ``videos`` with ``name``, ``images`` with ``video_id`` and
            ``frame_id`` from 0, ``annotations`` with ``track_id``.
        poses: the poses.json of ``tools/predict.py --track`` on these videos, called as in ``videos``.
        skeleton: name or path, as for :func:`posecore.structures.skeleton.load_skeleton`.
        threshold: as for :func:`evaluate_tracks`.

    Raises:
        OSError, ValueError: a file cannot be read, or is not of its format; names it.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the least OKS of a match (--oks) must be above 0 and at most 1, not {threshold}")
    kind = load_skeleton(skeleton)
    records = _read_poses(poses, kind)
    content = load_json(ground_truth, "ground truth")
    try:
        if not isinstance(content, dict) or not content.keys() >= {"videos", "images", "annotations"}:
            raise ValueError(f"it is {short(content)}")
        frames = list(_frames(content, records, kind))
    except ValueError as error:
        raise ValueError(
            f"{ground_truth} must have videos, images with video_id and frame_id, and annotations with "
            f"track_id: {error}"
        ) from error
    return evaluate_tracks(frames, threshold)


class _Video(Entry):
    """An entry of "videos"."""

    id: Id
    name: FileName


class _Image(Entry):
    """An entry of "images": a frame of a video."""

    id: Id
    video_id: Id = Field(description="the id of a video")
    frame_id: Annotated[int, Field(strict=True, ge=0)] = Field(
        description="the number of the frame in its video, a whole number from 0"
    )


class _Person(Entry):
    """An entry of "annotations" that is no crowd."""

    image_id: Id = Field(description="the id of an image")
    track_id: Id = Field(description="the number of the person in the video")
    keypoints: list[Coordinate] = Field(description="a list of x, y and v of each keypoint, finite numbers")
    bbox: Box | None = Field(None, description="x, y, width >= 0, height >= 0, 4 finite numbers, or missing")


class _Record(Entry):
    """A record of poses.json."""

    name: FileName
    number: Annotated[int, Field(strict=True)] | None = Field(description="a whole number, or null")
    people: list = Field(description="a list")


class _Pose(Entry):
    """An entry of "people"."""

    id: Annotated[int, Field(strict=True)] | None = Field(description="a whole number, or null")
    keypoints: dict[str, tuple[Coordinate, Coordinate, Number]] = Field(
        description="x, y and a score for the name of each keypoint, finite numbers"
    )


def _read_poses(file: Path, skeleton: Skeleton) -> dict[tuple[str, int], list[_Pose]]:
    """The people of a poses.json by the name of the video, without folders, and the number of the image."""
    content = load_json(file, "file of poses")
    people: dict[tuple[str, int], list[_Pose]] = {}
    sources: dict[str, str] = {}
    try:
        for record in validated(content, _Record, "record"):
            if record.number is None:  # of a single image
                continue
            name = PurePath(record.name).name
            if sources.setdefault(name, record.name) != record.name:
                raise ValueError(
                    f"{sources[name]} and {record.name} are two videos of one name: track them apart"
                )
            if (name, record.number) in people:
                raise ValueError(f"image {record.number} of {record.name} is there twice")
            poses = list(validated(record.people, _Pose, f"{record.name}, image {record.number}: person"))
            for pose in poses:
                if missing := [keypoint for keypoint in skeleton.keypoints if keypoint not in pose.keypoints]:
                    raise ValueError(
                        f"{record.name}, image {record.number}: a person has no keypoint {missing[0]}, which "
                        f"the skeleton {skeleton.name} (--skeleton) has"
                    )
            people[name, record.number] = poses
    except ValueError as error:
        raise ValueError(
            f"{file} must be a poses.json of tools/predict.py, of people with an id (predict.py --track): "
            f"{error}"
        ) from error
    return people


def _frames(
    content: Mapping[str, Any], records: Mapping[tuple[str, int], list[_Pose]], skeleton: Skeleton
) -> Iterable[TrackedFrame]:
    """The frames of all videos; identities of different videos are made different.

    Raises:
        ValueError: an entry is wrong, two of them contradict each other, or the poses are of other videos.
    """
    names = {video.id: PurePath(video.name).name for video in validated(content["videos"], _Video, "video")}
    if len(set(names.values())) < len(content["videos"]):
        raise ValueError("the ids and the names of videos, without their folders, must differ")
    if not any(name in names.values() for name, _ in records):
        raise ValueError(
            f"no video of the ground truth ({', '.join(names.values())}) is in the poses, which are of "
            f"{', '.join(sorted({name for name, _ in records})) or 'nothing'}"
        )
    images = {image.id: image for image in validated(content["images"], _Image, "image")}
    places = {(image.video_id, image.frame_id) for image in images.values()}
    if len(images) < len(content["images"]) or len(places) < len(images):
        raise ValueError("the ids of images must differ, and so must the frame_id of images of one video")
    if strange := [image.id for image in images.values() if image.video_id not in names]:
        raise ValueError(f"image {strange[0]}: video_id must be the id of a video")
    people = _people(content["annotations"], images, skeleton)
    numbers: dict[Any, int] = {}

    def number(key: Any) -> int:
        return numbers.setdefault(key, len(numbers) + 1)

    order = {video: place for place, video in enumerate(names)}
    for image in sorted(images.values(), key=lambda image: (order[image.video_id], image.frame_id)):
        video, labeled = image.video_id, people[image.id]
        found = [pose for pose in records.get((names[video], image.frame_id), []) if pose.id is not None]
        if len({pose.id for pose in found}) < len(found):
            raise ValueError(f"the poses of image {image.id} have two persons of one id")
        shape = -1, skeleton.num_keypoints, 3
        gt_keypoints = np.array([person.keypoints for person, _ in labeled], dtype=float).reshape(shape)
        gt_keypoints[..., :2] += 0.5  # COCO's numbers are indices of pixels
        keypoints = [[pose.keypoints[name] for name in skeleton.keypoints] for pose in found]
        yield tracked_frame(
            [number((video, "person", person.track_id)) for person, _ in labeled],
            gt_keypoints,
            np.array([area for _, area in labeled], dtype=float),
            [number((video, "pose", pose.id)) for pose in found],
            np.array(keypoints, dtype=float).reshape(shape),
            skeleton,
        )


def _people(
    annotations: Any, images: Mapping[Any, _Image], skeleton: Skeleton
) -> dict[Any, list[tuple[_Person, float]]]:
    """The persons of each image with their areas; crowds are left out.

    An area that is no finite number above 0 is a share of the box, as in training and evaluation.
    """
    if not isinstance(annotations, list):
        raise ValueError(f"'annotations' must be a list, not {short(annotations)}")
    given = [
        entry for entry in annotations if not (isinstance(entry, dict) and entry.get("iscrowd") in (1, True))
    ]
    people: dict[Any, list[tuple[_Person, float]]] = defaultdict(list)
    guessed = 0
    for index, (entry, person) in enumerate(
        zip(given, validated(given, _Person, "annotation", key="annotations"), strict=True)
    ):
        name = entry_name("annotation", entry, index)
        if person.image_id not in images:
            raise ValueError(f"{name}: image_id must be the id of an image, not {short(person.image_id)}")
        if len(person.keypoints) != 3 * skeleton.num_keypoints:
            raise ValueError(
                f"{name}: keypoints must be {3 * skeleton.num_keypoints} numbers, those of the skeleton "
                f"{skeleton.name} (--skeleton), not {len(person.keypoints)}"
            )
        if any(person.track_id == other.track_id for other, _ in people[person.image_id]):
            raise ValueError(f"{name}: another person of its image has the track_id {short(person.track_id)}")
        area = entry.get("area")
        if not is_area(area):
            area = AREA_OF_BOX * person.bbox[2] * person.bbox[3] if person.bbox else 0
            guessed += 1
        if not area:
            raise ValueError(
                f"{name}: area must be a finite number above 0, not {short(entry.get('area'))}, or bbox must "
                "have a width and a height that it is taken from"
            )
        people[person.image_id].append((person, area))
    if guessed:
        logger.warning(
            "%d annotations have no valid area (a finite number above 0): %s of the box is taken",
            guessed,
            AREA_OF_BOX,
        )
    return people


def _clear_matches(frame: TrackedFrame, identities: Mapping[int, int], threshold: float) -> dict[int, int]:
    """The matches of CLEAR MOT, identity by person."""
    allowed = frame.similarities >= threshold
    rows = {person: row for row, person in enumerate(frame.gt_ids.tolist())}
    columns = {identity: column for column, identity in enumerate(frame.ids.tolist())}
    pairs: dict[int, int] = {}
    for person, row in rows.items():
        column = columns.get(identities.get(person, 0))
        if column is not None and allowed[row, column] and frame.ids[column] not in pairs.values():
            pairs[person] = int(frame.ids[column])
    free_rows = [row for person, row in rows.items() if person not in pairs]
    free_columns = [column for identity, column in columns.items() if identity not in pairs.values()]
    window = np.ix_(free_rows, free_columns)
    # As many matches as possible, and of these the most similar.
    scores = np.where(allowed[window], 1 + len(frame.gt_ids) + frame.similarities[window], 0)
    for row, column in zip(*linear_sum_assignment(scores, maximize=True), strict=True):
        if scores[row, column] > 0:
            pairs[int(frame.gt_ids[free_rows[row]])] = int(frame.ids[free_columns[column]])
    return pairs


def _gaps(states: Sequence[bool]) -> int:
    """How often a person that was followed is not, and is again later."""
    followed = np.flatnonzero(states)
    return int((np.diff(followed) > 1).sum())


def _identity_matches(frames: Sequence[TrackedFrame], threshold: float) -> int:
    """IDTP: similar pairs of a person and a pose, for the best one-to-one match of whole tracks."""
    counts: Counter[tuple[int, int]] = Counter()
    for frame in frames:
        for row, column in np.argwhere(frame.similarities >= threshold):
            counts[int(frame.gt_ids[row]), int(frame.ids[column])] += 1
    table = _Table(frames)
    matrix = np.zeros(table.shape)
    for (person, identity), count in counts.items():
        matrix[table.rows[person], table.columns[identity]] = count
    return int(matrix[linear_sum_assignment(matrix, maximize=True)].sum())


class _Table:
    """Rows of persons and columns of identities over all frames, and in how many frames each is."""

    def __init__(self, frames: Sequence[TrackedFrame]) -> None:
        persons = Counter(person for frame in frames for person in frame.gt_ids.tolist())
        identities = Counter(identity for frame in frames for identity in frame.ids.tolist())
        self.rows = {person: row for row, person in enumerate(persons)}
        self.columns = {identity: column for column, identity in enumerate(identities)}
        self.shape = len(persons), len(identities)
        self.person_frames = np.array(list(persons.values()), dtype=float)[:, None]
        self.identity_frames = np.array(list(identities.values()), dtype=float)[None]

    def window(self, frame: TrackedFrame) -> tuple[np.ndarray, ...]:
        """The indices of a frame's persons and identities."""
        rows = [self.rows[person] for person in frame.gt_ids.tolist()]
        columns = [self.columns[identity] for identity in frame.ids.tolist()]
        return np.ix_(np.array(rows, dtype=int), np.array(columns, dtype=int))


def _hota(frames: Sequence[TrackedFrame]) -> float:
    """The mean of HOTA over its thresholds (equations 9 to 15 of the paper)."""
    table = _Table(frames)
    potential = np.zeros(table.shape)
    for frame in frames:
        similar = frame.similarities
        union = similar.sum(axis=0, keepdims=True) + similar.sum(axis=1, keepdims=True) - similar
        potential[table.window(frame)] += np.divide(
            similar, union, out=np.zeros_like(similar), where=union > 0
        )
    # How well whole tracks fit decides between matches that are both similar enough.
    alignment = potential / (table.person_frames + table.identity_frames - potential)
    matches = np.zeros((len(_HOTA_THRESHOLDS), *table.shape))
    persons = poses = 0
    for frame in frames:
        window = table.window(frame)
        persons, poses = persons + len(frame.gt_ids), poses + len(frame.ids)
        rows, columns = linear_sum_assignment(alignment[window] * frame.similarities, maximize=True)
        chosen = window[0][rows, 0], window[1][0, columns]
        similar = frame.similarities[rows, columns]
        for level, threshold in enumerate(_HOTA_THRESHOLDS):
            passed = similar >= threshold - np.finfo(float).eps
            matches[level, chosen[0][passed], chosen[1][passed]] += 1
    found = matches.sum(axis=(1, 2))
    associated = matches / (table.person_frames + table.identity_frames - matches)
    detection = found / np.maximum(persons + poses - found, 1)
    association = (matches * associated).sum(axis=(1, 2)) / np.maximum(found, 1)
    return float(np.sqrt(detection * association).mean())
