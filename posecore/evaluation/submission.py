"""Submissions to COCO's keypoint server: :func:`write_submission` (https://cocodataset.org/#upload)."""

import json
import os
import sys
import zipfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from posecore.config.merge import UsageError
from posecore.data.formats.coco_wholebody import NUM_KEYPOINTS, join_parts
from posecore.data.formats.document import load_json

# The category of COCO's persons.
PERSON = 1

# The number of poses of an image that COCO evaluates, the best ones.
SCORED = 20


def check_results(
    results: Any,
    *,
    image_ids: Collection[int | str],
    num_keypoints: int,
    category_id: int | str = PERSON,
) -> None:
    """Checks that results can be evaluated as they are meant, by COCO's server if the category is COCO's.

    Args:
        results: the content of a results file.
        image_ids: of the dataset's images.
        num_keypoints: K.
        category_id: of the dataset's persons.

    Raises:
        ValueError: an entry is wrong; the message names the first one, and what would be right.
    """
    if not isinstance(results, list) or not results:
        raise ValueError("results are a list of poses, with one pose at least")
    known = set(image_ids)
    for index, result in enumerate(results):
        if problem := _problem(result, known, num_keypoints, category_id):
            raise ValueError(f"entry {index} {problem}")


def read_coco_results(
    file: Path, *, image_ids: Collection[int | str], num_keypoints: int, category_id: int | str = PERSON
) -> list[dict[str, Any]]:
    """The poses of a results file, checked as :func:`check_results` does.

    Results on COCO-WholeBody are written with their parts apart; here they have 133 keypoints again.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: the file is no JSON, or an entry is wrong; names the file and the entry.
    """
    try:
        results = load_json(file, "results file")
    except ValueError as error:
        raise UsageError(str(error)) from error
    if num_keypoints == NUM_KEYPOINTS and isinstance(results, list):
        results = [join_parts(item) if isinstance(item, dict) else item for item in results]
    try:
        check_results(results, image_ids=image_ids, num_keypoints=num_keypoints, category_id=category_id)
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    return results


def best_of_each_image(results: Sequence[Mapping[str, Any]], limit: int = SCORED) -> list[dict[str, Any]]:
    """The best poses of each image, ``limit`` at most, best first, with the keys that the server reads."""
    images: dict[int | str, list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        images[result["image_id"]].append(result)
    keys = ("image_id", "category_id", "keypoints", "score")
    return [
        {key: result[key] for key in keys}
        for poses in images.values()
        for result in sorted(poses, key=lambda pose: -pose["score"])[:limit]
    ]


def write_submission(
    results: Sequence[Mapping[str, Any]], folder: Path, *, split: str, algorithm: str
) -> Path:
    """Packs results into an archive, under the names that the server requires; as a whole or not at all.

    Args:
        results: checked by :func:`check_results`.
        folder: of the archive.
        split: "test-dev2017" or "val2017".
        algorithm: letters, digits, ``.``, ``_`` and ``-``.

    Returns:
        The path of the archive, person_keypoints_<split>_<algorithm>_results.zip.
    """
    name = f"person_keypoints_{split}_{algorithm}_results"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{name}.zip"
    unfinished = folder / f"{name}.zip.part"
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"{name}.json", json.dumps(results))
        os.replace(unfinished, archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def _problem(
    result: Any, image_ids: set[int | str], num_keypoints: int, category_id: int | str
) -> str | None:
    if not isinstance(result, dict):
        return f"must be a pose, not {result!r}"
    if missing := [key for key in ("image_id", "category_id", "keypoints", "score") if key not in result]:
        return f"lacks {', '.join(missing)}"
    image_id = result["image_id"]
    if type(image_id) not in (int, str) or image_id not in image_ids:
        return f"has image_id {image_id!r}, which no image of the dataset has"
    given = result["category_id"]
    if type(given) is not type(category_id) or given != category_id:
        return f"has category_id {given!r}; persons have {category_id!r}"
    keypoints = result["keypoints"]
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_keypoints:
        return (
            f"needs keypoints of {3 * num_keypoints} numbers: x, y and confidence of each of {num_keypoints}"
        )
    if not all(map(_finite, [*keypoints, result["score"]])):
        return "has a keypoint or a score that is not a finite number"
    return None


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
