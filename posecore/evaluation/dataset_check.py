"""Checks a dataset for probable mistakes before training: :func:`check_dataset` (tools/check_dataset.py).

The readers in :mod:`posecore.data.formats` refuse annotations that have no meaning. The checks here find
annotations that can be read, but were probably not meant as they are.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from posecore.data.datasets import dataset_metadata, read_dataset
from posecore.data.formats.areas import fitting
from posecore.data.formats.coco import dataset_dicts
from posecore.data.mapper import PoseMapper, annotated_boxes
from posecore.evaluation.coco import AREAS, score
from posecore.evaluation.submission import SCORED
from posecore.structures.skeleton import Skeleton


@dataclass
class Report:
    """The findings about a dataset, one sentence each.

    Attributes:
        facts: its numbers of images, persons and keypoints.
        warnings: probable mistakes.
        errors: mistakes that training would fail on or learn from.
    """

    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Persons:
    """The n persons of a dataset that are no crowds.

    Attributes:
        ids: (n,), of their annotations.
        keypoints: (n, K, 3), x and y in COCO's pixels and v.
        boxes: (n, 4), x, y, width, height.
        areas: (n,), square pixels.
        image_sizes: (n, 2), width and height of their images.
    """

    ids: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    image_sizes: np.ndarray

    @property
    def labeled(self) -> np.ndarray:
        """(n, K) bool."""
        return self.keypoints[..., 2] > 0


def check_dataset(name: str, num_images: int = 200) -> Report:
    """Checks the annotations of a dataset, that its images exist, and that some of them can be read.

    Args:
        name: a registered dataset with annotations.
        num_images: number of images that are read, evenly spread.

    Raises:
        FileNotFoundError, ValueError: the annotations cannot be used at all.
    """
    metadata = dataset_metadata(name)
    skeleton = metadata.skeleton
    content = read_dataset(name, skeleton)
    if "annotations" not in content:
        raise ValueError(f"{metadata.json_file} has no annotations to check")
    persons = _gather(content, skeleton)
    report = Report()
    _count(report, content, persons, skeleton)
    try:
        _check_images(report, dataset_dicts(content, metadata.image_root), skeleton, num_images)
    except FileNotFoundError as error:
        report.errors.append(f"{metadata.json_file}: {error}")
    if persons.labeled.any():
        _check_persons(report, persons)
        _check_duplicates(report, content)
        _check_score(report, content, skeleton)
    else:
        report.errors.append("no person has a labeled keypoint")
    return report


def _gather(content: dict, skeleton: Skeleton) -> Persons:
    people = [person for person in content["annotations"] if not person["iscrowd"]]
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    count = len(people)
    return Persons(
        ids=np.array([person["id"] for person in people]),
        keypoints=np.array([person["keypoints"] for person in people], dtype=float).reshape(
            count, skeleton.num_keypoints, 3
        ),
        boxes=np.array([person["bbox"] for person in people], dtype=float).reshape(count, 4),
        areas=np.array([person["area"] for person in people], dtype=float),
        image_sizes=np.array([sizes[person["image_id"]] for person in people], dtype=float).reshape(count, 2),
    )


def _count(report: Report, content: dict, persons: Persons, skeleton: Skeleton) -> None:
    per_image = dict.fromkeys((image["id"] for image in content["images"]), 0)
    for person in content["annotations"]:
        per_image[person["image_id"]] += not person["iscrowd"]
    counts = list(per_image.values())
    report.facts += [
        f"skeleton {skeleton.name}: {skeleton.num_keypoints} keypoints",
        f"{len(counts)} images, {counts.count(0)} of them without persons, at most "
        f"{max(counts, default=0)} persons in one",
        f"{len(persons.ids)} persons, {int((~persons.labeled.any(axis=1)).sum())} of them without keypoints; "
        f"{len(content['annotations']) - len(persons.ids)} crowds",
    ]
    for k, keypoint in enumerate(skeleton.keypoints):
        visible, hidden = ((persons.keypoints[:, k, 2] == v).sum() for v in (2, 1))
        report.facts.append(f"{keypoint}: visible {visible}, hidden {hidden}")
        if not visible and not hidden and persons.labeled.any():
            report.warnings.append(f"keypoint '{keypoint}' is never labeled")
    if (crowded := sum(count > SCORED for count in counts)) > 0:
        report.warnings.append(
            f"{crowded} images have more than {SCORED} persons; COCO's evaluation counts {SCORED} poses"
        )


def _check_images(report: Report, dicts: list[dict], skeleton: Skeleton, num_images: int) -> None:
    missing = [record["file_name"] for record in dicts if not Path(record["file_name"]).is_file()]
    if missing:
        report.errors.append(f"{len(missing)} of {len(dicts)} images do not exist: {_some(missing)}")
        return
    mapper = PoseMapper(
        labeled=False, augmentations=[], skeleton=skeleton, boxes=annotated_boxes, image_format="RGB"
    )
    chosen = np.linspace(0, len(dicts) - 1, min(num_images, len(dicts))).round().astype(int)
    plain = []
    for index in chosen:
        try:
            image = mapper(dicts[index])["image"]
            if (image == image[:, :1, :1]).all():
                plain.append(dicts[index]["file_name"])
        except ValueError as error:
            report.errors.append(str(error))
    if plain:
        report.warnings.append(
            f"{len(plain)} of {len(chosen)} images have one single color: {_some(plain)}; "
            "were they written, or converted to 8 bits, by mistake?"
        )
    report.facts.append(f"{len(chosen)} images opened")


def _check_persons(report: Report, persons: Persons) -> None:
    points, labeled = persons.keypoints[..., :2], persons.labeled
    if points[labeled].max() <= 1:
        report.errors.append(
            "all coordinates are at most 1: they seem to be relative to the image size; COCO's are pixels"
        )
    outside = ((points < -1) | (points > persons.image_sizes[:, None])).any(axis=-1) & labeled
    _warn(report, persons, outside.any(axis=1), "labeled keypoints outside the image")
    unlabeled = ~labeled & (points != 0).any(axis=-1)
    _warn(report, persons, unlabeled.any(axis=1), "coordinates at keypoints with v = 0, which is not labeled")
    low, high = persons.boxes[:, :2], persons.boxes[:, :2] + persons.boxes[:, 2:]
    posed = labeled.any(axis=1)
    _warn(
        report,
        persons,
        posed & (persons.boxes[:, 2:] <= 0).any(axis=1),
        "keypoints, but a box without a size",
    )
    _warn(report, persons, ((high < 0) | (low > persons.image_sizes)).any(axis=1), "boxes outside the image")
    slack = 0.1 * persons.boxes[:, 2:] + 1
    away = ((points < (low - slack)[:, None]) | (points > (high + slack)[:, None])).any(axis=-1) & labeled
    _warn(report, persons, away.sum(axis=1) > labeled.sum(axis=1) / 2, "most keypoints outside their own box")
    sizes = persons.boxes[:, 2:].prod(axis=1)
    _warn(
        report,
        persons,
        posed & ~fitting(persons.areas, sizes),
        "areas above the box's or below 2 % of it; the evaluation's tolerance grows with the area",
    )


def _check_duplicates(report: Report, content: dict) -> None:
    """Finds persons of one image with equal keypoints."""
    ids = defaultdict(list)
    for person in content["annotations"]:
        if person["num_keypoints"] > 0:
            ids[person["image_id"], tuple(person["keypoints"])].append(person["id"])
    duplicates = [same for same in ids.values() if len(same) > 1]
    if duplicates:
        report.warnings.append(
            f"{len(duplicates)} persons are annotated more than once; annotations {_some(duplicates)}"
        )


def _check_score(report: Report, content: dict, skeleton: Skeleton) -> None:
    """Evaluates the ground truth as its own prediction, which should give AP 100."""
    results = [
        {key: person[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1.0}
        for person in content["annotations"]
        if not person["iscrowd"] and person["num_keypoints"] > 0
    ]
    precision = score(content, results, "keypoints", skeleton.sigmas, "hotcoco")["AP"]
    report.facts.append(f"AP of the ground truth as its own prediction: {precision:.1f} %")
    if not precision > 99.9:
        report.warnings.append(
            f"the ground truth as its own prediction gets AP {precision:.1f} instead of 100: "
            f"{_reason(content, results)}"
        )


def _reason(content: dict, results: list[dict]) -> str:
    """Why the ground truth as its own prediction does not get AP 100."""
    low, high = AREAS[""]
    ids = [person["id"] for person in content["annotations"] if not low <= person["area"] <= high]
    if ids:
        return f"COCO's evaluation leaves out areas above {high:.0e} square pixels; annotations {_some(ids)}"
    if max(Counter(result["image_id"] for result in results).values()) > SCORED:
        return f"COCO's evaluation counts the best {SCORED} poses of an image, and an image has more persons"
    return "some persons of an image resemble each other, or a crowd, more than themselves"


def _warn(report: Report, persons: Persons, chosen: ArrayLike, mistake: str) -> None:
    """Warns of the persons that have a mistake; chosen: (n,) bool."""
    chosen = np.asarray(chosen)
    if chosen.any():
        some = _some(persons.ids[chosen].tolist())
        report.warnings.append(
            f"{int(chosen.sum())} of {len(chosen)} persons have {mistake}; annotations {some}"
        )


def _some(items: list) -> str:
    return ", ".join(map(str, items[:5])) + (", ..." if len(items) > 5 else "")
