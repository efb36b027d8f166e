"""A small dataset of drawn figures and results on it with errors of every kind, for pages of reports."""

import json
from pathlib import Path

import cv2
import numpy as np

from posecore.data.synthetic import make_dataset

# A name as nobody should give an image, which a page must show as it is.
HOSTILE = "<script>alert('x')</script>&\".jpg"


def make_figures(folder: Path, *, num_images: int = 12, size=(160, 200), skeleton="coco_17", **scene) -> Path:
    """Writes drawn images, the first under a hostile name; returns the path of the definition."""
    definition = make_dataset(folder, num_images=num_images, size=size, skeleton=skeleton, **scene)
    file = folder / "annotations" / "train.json"
    content = json.loads(file.read_text())
    image = content["images"][0]
    # A slash would make it a folder's.
    name = HOSTILE.replace("/", "\u2215")
    (folder / "train" / image["file_name"]).rename(folder / "train" / name)
    image["file_name"] = name
    file.write_text(json.dumps(content))
    return definition


def make_faults(
    folder: Path, *, num_images: int = 24, size: tuple[int, int] = (120, 160)
) -> tuple[Path, Path]:
    """Writes a dataset with mistakes of every kind that the doctor finds, and another split.

    Person 1 has swapped shoulders, person 2 left and right swapped as a whole, person 3 a foot far away;
    images 2 and 3 are also in the other split, the latter blurred and darker. Image 5 is broken.

    Returns:
        The paths of both definitions.
    """
    whole = {"people": (2, 3), "cut": 0, "objects": 0, "scale": (0.5, 0.9), "crowds": 0}
    definition = make_figures(folder, num_images=num_images, size=size, **whole)
    other = make_dataset(folder / "other", num_images=4, size=size, split="val", **whole)
    file = folder / "annotations" / "train.json"
    content = json.loads(file.read_text())
    names = content["categories"][0]["keypoints"]
    flips = [names.index(_other_side(name)) for name in names]
    poses = [np.array(person["keypoints"], dtype=float).reshape(-1, 3) for person in content["annotations"]]
    poses = [pose for pose in poses if (pose[:, 2] > 0).all()]
    people = [
        person for person in content["annotations"] if all(flag > 0 for flag in person["keypoints"][2::3])
    ]
    shoulders = [names.index("left_shoulder"), names.index("right_shoulder")]
    poses[0][shoulders] = poses[0][shoulders[::-1]]
    poses[1] = poses[1][flips]
    poses[1][:, 2] = 2
    foot = names.index("left_ankle")
    poses[2][foot, :2] = [2, 2] if poses[2][foot, 0] > size[1] / 2 else [size[1] - 2, 2]
    for person, pose in zip(people[:3], poses, strict=False):
        person["keypoints"] = pose.ravel().tolist()
    file.write_text(json.dumps(content))
    for index, scale, light in ((0, 1.0, 1.0), (1, 0.8, 0.9)):
        image = cv2.imread(str(folder / "train" / content["images"][index + 1]["file_name"]))
        image = cv2.resize((image * light).astype(np.uint8), None, fx=scale, fy=scale)
        target = folder / "other" / "val" / f"{index + 1:06d}.jpg"
        image = cv2.resize(image, (size[1], size[0]))
        cv2.imwrite(str(target), image)
    (folder / "train" / content["images"][4]["file_name"]).write_bytes(b"no image")
    return definition, other


def make_results(definition: Path, file: Path, *, quality: float = 1.0, seed: int = 0) -> Path:
    """Writes results with jitter, inversions, misses, missed persons and poses without a person.

    Args:
        definition: of :func:`make_figures`.
        file: the results.
        quality: from 0 for noise alone to 1 for rather good poses.
        seed: other seeds, other errors.
    """
    content = json.loads((definition.parent / "annotations" / "train.json").read_text())
    names = content["categories"][0]["keypoints"]
    flips = [names.index(_other_side(name)) for name in names]
    rng = np.random.default_rng(seed)
    results = []
    for person in content["annotations"]:
        if person["iscrowd"] or not person["num_keypoints"] or rng.random() < 0.12 + 0.2 * (1 - quality):
            continue
        points = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
        corner, extent = np.split(np.array(person["bbox"], dtype=float), 2)
        unlabeled = points[:, 2] == 0
        points[unlabeled, :2] = corner + rng.random((int(unlabeled.sum()), 2)) * extent
        level = rng.choice([0.01, 0.03, 0.08]) + 0.08 * (1 - quality)
        points[:, :2] += rng.normal(0, level * np.sqrt(person["area"]), (len(points), 2))
        if rng.random() < 0.2:
            points = points[flips]
        if rng.random() < 0.3:
            points[rng.integers(len(points)), :2] += rng.normal(0, 1, 2) * extent
        points[:, 2] = rng.uniform(0.3, 1, len(points))
        score = float(np.clip(0.95 - 6 * level + rng.normal(0, 0.08), 0.02, 0.99))
        results.append(_result(person["image_id"], points, score))
    for image in content["images"][::3]:
        points = rng.random((len(names), 3)) * (image["width"], image["height"], 1)
        results.append(_result(image["id"], points, float(rng.uniform(0.1, 0.6))))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results))
    return file


def _other_side(name: str) -> str:
    """The name of the keypoint that a flip puts here."""
    sides = {"left": "right", "right": "left"}
    first, _, rest = name.partition("_")
    return f"{sides[first]}_{rest}" if first in sides else name


def _result(image_id: int, points: np.ndarray, score: float) -> dict:
    return {"image_id": image_id, "category_id": 1, "keypoints": points.ravel().tolist(), "score": score}
