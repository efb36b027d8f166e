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

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from posecore.structures.oks import oks
from posecore.structures.skeleton import Skeleton

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
