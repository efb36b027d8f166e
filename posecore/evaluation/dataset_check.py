"""Checks a dataset for probable mistakes before training: :func:`check_dataset` (tools/check_dataset.py).

The readers in :mod:`posecore.data.formats` refuse annotations that have no meaning. The checks here find
annotations that can be read, but were probably not meant as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from posecore.config.errors import some
from posecore.data.datasets import dataset_metadata, load_dataset, read_annotated
from posecore.data.formats.areas import fitting
from posecore.data.formats.coco import dataset_dicts
from posecore.data.mapper import PoseMapper, annotated_boxes
from posecore.data.near_duplicates import MAX_DIFFERENCE, SIDE
from posecore.evaluation.coco import AREAS, score
from posecore.evaluation.dataset_persons import Persons, gather_persons
from posecore.evaluation.findings import Example, Report
from posecore.evaluation.pose_checks import Suspects, long_limbs, swapped_pairs, turned_persons
from posecore.evaluation.split_duplicates import shared_images
from posecore.evaluation.submission import SCORED
from posecore.evaluation.visible_size import MIN_CELLS, VisibleSize
from posecore.structures.skeleton import Skeleton


def check_dataset(
    name: str, num_images: int = 200, *, others: Sequence[str] = (), visible: VisibleSize | None = None
) -> Report:
    """Checks the annotations of a dataset, that its images exist, and that some of them can be read.

    Args:
        name: a registered dataset with annotations.
        num_images: number of images that are read, evenly spread.
        others: registered datasets that must not share images with it, such as the other splits; all images
            of all of them are read.
        visible: the least size of persons that a model can see; None for no check of it.

    Raises:
        FileNotFoundError, ValueError: the annotations cannot be used at all.
    """
    metadata = dataset_metadata(name)
    skeleton = metadata.skeleton
    content = read_annotated(name)
    persons = gather_persons(content, skeleton, metadata.image_root)
    report = Report()
    _count(report, content, persons, skeleton)
    try:
        records = dataset_dicts(content, metadata.image_root)
        _check_images(report, records, skeleton, num_images)
        for other in others:
            _check_split(report, records, other)
    except FileNotFoundError as error:
        report.fail(f"{metadata.json_file}: {error}")
    if persons.labeled.any():
        _check_persons(report, persons)
        _check_poses(report, persons, skeleton)
        if visible is not None:
            _check_sizes(report, persons, visible)
        _check_duplicates(report, content, persons)
        _check_score(report, content, skeleton)
    else:
        report.fail("no person has a labeled keypoint")
    return report


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
            report.warn(f"keypoint '{keypoint}' is never labeled")
    if (crowded := sum(count > SCORED for count in counts)) > 0:
        report.warn(
            f"{crowded} images have more than {SCORED} persons; COCO's evaluation counts {SCORED} poses"
        )


def _check_images(report: Report, dicts: list[dict], skeleton: Skeleton, num_images: int) -> None:
    missing = [record["file_name"] for record in dicts if not Path(record["file_name"]).is_file()]
    if missing:
        report.fail(f"{len(missing)} of {len(dicts)} images do not exist: {some(missing)}")
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
            report.fail(str(error), examples=[Example(dicts[index]["file_name"])])
    if plain:
        report.warn(
            f"{len(plain)} of {len(chosen)} images have one single color: {some(plain)}; "
            "were they written, or converted to 8 bits, by mistake?",
            examples=[Example(file) for file in plain],
        )
    report.facts.append(f"{len(chosen)} images opened")


def _check_persons(report: Report, persons: Persons) -> None:
    points, labeled = persons.keypoints[..., :2], persons.labeled
    if points[labeled].max() <= 1:
        report.fail(
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
        posed & (sizes > 0) & ~fitting(persons.areas, sizes),
        "areas above the box's or below 2 % of it; the evaluation's tolerance grows with the area",
    )


def _check_poses(report: Report, persons: Persons, skeleton: Skeleton) -> None:
    """Finds keypoints that do not fit the person's others."""
    arguments = persons.keypoints, persons.areas, skeleton
    _suspect(
        report,
        persons,
        swapped_pairs(*arguments),
        "a left and a right keypoint that seem to be swapped",
        "the pair lies the other way round than the person's other pairs predict, by a normal distribution "
        "of all persons of the dataset, and would fit them if it were swapped",
        skeleton,
    )
    _suspect(
        report,
        persons,
        turned_persons(*arguments),
        "left and right that seem to be swapped as a whole",
        "nose and both eyes are visible, so the person faces the camera, but the left eye and shoulder are "
        "where the right ones would be",
        skeleton,
    )
    _suspect(
        report,
        persons,
        long_limbs(*arguments),
        "a limb that is far too long beside the person's other limbs",
        "at the scale of the person's other limbs, it is at least twice the dataset's median length, and "
        "beyond the third quartile by more than three interquartile ranges",
        skeleton,
    )


def _check_sizes(report: Report, persons: Persons, visible: VisibleSize) -> None:
    """Finds persons that are too small for a model."""
    sides = visible.sides(persons.boxes, persons.image_sizes)
    small = persons.labeled.any(axis=1) & (sides < visible.least)
    order = np.argsort(sides, kind="stable")
    _warn(
        report,
        persons,
        small,
        f"a longer side of less than {visible.least} pixels where the model sees them",
        rule=f"images are resized to INPUT.MIN_SIZE_TEST {visible.min_side}, at most {visible.max_side}; the "
        f"finest map of the backbone has a stride of {visible.stride}, and a person needs {MIN_CELLS} of its "
        "cells",
        examples=[
            Example(persons.files[i], persons.ids[i], text=f"{sides[i]:.1f} pixels")
            for i in order
            if small[i]
        ],
    )


def _check_split(report: Report, records: list[dict], other: str) -> None:
    """Finds images that another dataset has too."""
    skeleton = dataset_metadata(other).skeleton
    theirs = [record["file_name"] for record in load_dataset(other, skeleton)]
    shared = shared_images([record["file_name"] for record in records], theirs)
    report.facts.append(f"{len(records)} images compared with the {len(theirs)} of {other}")
    if shared:
        report.warn(
            f"{len(shared)} of {len(records)} images have a near duplicate in {other}: "
            f"{some([f'{image.file} and {image.other}' for image in shared])}",
            rule=f"difference hashes of {SIDE * SIDE} bits differ in {MAX_DIFFERENCE} bits at most, or other "
            "images link them so; a model that has learned an image is not tested by it",
            examples=[
                Example(image.file, beside=image.other, text=f"{image.difference} bits differ")
                for image in shared
            ],
        )


def _check_duplicates(report: Report, content: dict, persons: Persons) -> None:
    """Finds persons of one image with equal keypoints."""
    ids = defaultdict(list)
    for person in content["annotations"]:
        if person["num_keypoints"] > 0:
            ids[person["image_id"], tuple(person["keypoints"])].append(person["id"])
    duplicates = [same for same in ids.values() if len(same) > 1]
    if duplicates:
        files = dict(zip(persons.ids.tolist(), persons.files, strict=True))
        report.warn(
            f"{len(duplicates)} persons are annotated more than once; annotations {some(duplicates)}",
            examples=[
                Example(files[same[0]], same[0], text=f"annotations {some(same)}")
                for same in duplicates
                if same[0] in files
            ],
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
        report.warn(
            f"the ground truth as its own prediction gets AP {precision:.1f} instead of 100: "
            f"{_reason(content, results)}"
        )


def _reason(content: dict, results: list[dict]) -> str:
    """Why the ground truth as its own prediction does not get AP 100."""
    low, high = AREAS[""]
    ids = [person["id"] for person in content["annotations"] if not low <= person["area"] <= high]
    if ids:
        return f"COCO's evaluation leaves out areas above {high:.0e} square pixels; annotations {some(ids)}"
    if max(Counter(result["image_id"] for result in results).values()) > SCORED:
        return f"COCO's evaluation counts the best {SCORED} poses of an image, and an image has more persons"
    return "some persons of an image resemble each other, or a crowd, more than themselves"


def _warn(
    report: Report,
    persons: Persons,
    chosen: ArrayLike,
    mistake: str,
    *,
    rule: str = "",
    examples: Iterable[Example] | None = None,
) -> None:
    """Warns of the persons that have a mistake; chosen: (n,) bool."""
    chosen = np.asarray(chosen)
    if chosen.any():
        places = np.flatnonzero(chosen)
        ids = some(persons.ids[chosen].tolist())
        if examples is None:
            examples = (Example(persons.files[i], persons.ids[i]) for i in places)
        report.warn(
            f"{int(chosen.sum())} of {len(chosen)} persons have {mistake}; annotations {ids}",
            rule=rule,
            examples=examples,
        )


def _suspect(
    report: Report, persons: Persons, suspects: Suspects, mistake: str, rule: str, skeleton: Skeleton
) -> None:
    """Warns of suspected persons, the most suspicious first."""
    if len(suspects.persons):
        pairs = zip(suspects.persons, suspects.keypoints, strict=True)
        report.warn(
            f"{len(suspects.persons)} of {len(persons.ids)} persons have {mistake}; annotations "
            f"{some(persons.ids[suspects.persons].tolist())}",
            rule=rule,
            examples=[
                Example(
                    persons.files[i],
                    persons.ids[i],
                    keypoints=meant,
                    text=", ".join(skeleton.keypoints[k] for k in meant),
                )
                for i, meant in pairs
            ],
        )
