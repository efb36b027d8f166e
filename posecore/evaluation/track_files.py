"""Measures the poses of videos in files against the ground truth of videos: :func:`evaluate_track_files`."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any

import numpy as np
from pydantic import Field

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
from posecore.evaluation.tracking import (
    THRESHOLD,
    TrackedFrame,
    TrackingMetrics,
    evaluate_tracks,
    tracked_frame,
)
from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import Skeleton, load_skeleton

logger = logging.getLogger(__name__)


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
