"""A thousand annotation files with one field made wrong: no raw error, and no other target or AP in silence.

A file is accepted or refused. Where it is refused, the error is a ValueError or FileNotFoundError that names
the file. Where it is accepted, the values that training and evaluation use are those of the file before, or
a warning says so, or the changed value is a valid one of its field (:func:`is_valid`, which knows nothing of
the readers).
"""

import copy
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from posecore.data import load_dataset, read_dataset, register
from posecore.evaluation.coco import score
from posecore.evaluation.coco_wholebody import wholebody_score
from posecore.evaluation.crowdpose import crowdpose_score
from posecore.structures.skeleton import load_skeleton

# Files of each format; `make attack` sets a larger number.
MUTATIONS = int(os.environ.get("POSECORE_MUTATIONS", "250"))
SKELETONS = {
    "coco": load_skeleton("coco_17"),
    "coco_wholebody": load_skeleton("coco_wholebody_133"),
    "crowdpose": load_skeleton("crowdpose_14"),
    "mpii": load_skeleton("mpii_16"),
}
PARTS = {"keypoints": 17, "foot_kpts": 6, "face_kpts": 68, "lefthand_kpts": 21, "righthand_kpts": 21}
LISTS = (*PARTS, "bbox", "joints", "joints_vis", "center")

# What is put in the place of a value.
ODD = [
    *(None, True, False, "", "0", "1", "1.5", "text", "\x00", [], [None], [1], [[1, 2]], {}, {"id": 1}),
    *(0, 1, 2, -1, 3.0, 0.5, -5.0, 1e-30, 1e7, 1e300, 2**62, 2**63, 10**400),
    *(math.nan, math.inf, -math.inf),
]


def numbers(count: int, start: int) -> list[float]:
    return [value for k in range(count) for value in (20 + (start + 7 * k) % 40, 15 + (5 * k) % 50, 2)]


def coco_content(count: int) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.png", "height": 80, "width": 90} for i in (1, 2, 3)]
    people = [
        {
            **{"id": 10 + n, "image_id": 1 + n // 2, "category_id": 1, "bbox": [20 + n, 15, 40, 50]},
            **{"area": 1200.5 + n, "iscrowd": int(n == 3), "num_keypoints": count},
            "keypoints": numbers(count, n),
            "segmentation": [[20, 15, 60, 15, 60, 65, 20, 65]],
        }
        for n in range(4)
    ]
    return {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}


def make_content(format: str) -> Any:
    """A valid file of a format: three images, two persons in each but the last."""
    skeleton = SKELETONS[format]
    if format == "mpii":
        return [
            {
                **{"image": f"{1 + n // 2}.png", "center": [40.0, 40.0 + n], "scale": 0.25},
                "joints": [[20 + k, 21 + n] for k in range(16)],
                "joints_vis": [int(k != n) for k in range(16)],
            }
            for n in range(4)
        ]
    content = coco_content(17 if format == "coco_wholebody" else skeleton.num_keypoints)
    names = list(skeleton.keypoints)
    if format == "coco_wholebody":
        names = names[:17]
        for person in content["annotations"]:
            person |= {key: numbers(count, 3) for key, count in PARTS.items()}
            person |= {f"{part}_valid": True for part in ("foot", "face", "lefthand", "righthand")}
    if format == "crowdpose":
        for image in content["images"]:
            image["crowdIndex"] = 0.3 * image["id"]
    content["categories"][0]["keypoints"] = names
    return content


def paths(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values in a document, but of one entry of long lists only."""
    found = [path] if path else []
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys)[: 5 if len(keys) > 30 else None]:
        found += paths(value[key], (*path, key))
    return found


def is_number(value: Any, low: float = -1e6, high: float = 1e6) -> bool:
    return type(value) in (int, float) and low <= value <= high


def is_valid(path: tuple, value: Any) -> bool:
    """Whether a value is a valid one of a field; what a valid one means may differ from the one before."""
    names = [key for key in path if isinstance(key, str)]
    field = names[-1] if names else ""
    inner = isinstance(path[-1], int) and field in LISTS
    if field == "area":
        return is_number(value, 5e-324, 1.7e308)
    if field in ("id", "image_id", "category_id"):
        return isinstance(value, str) or (is_number(value, -(2**63), 2**63 - 1) and value == int(value))
    if field == "iscrowd":
        return type(value) is bool or (is_number(value, 0, 1) and value == int(value))
    if field.endswith("_valid"):
        return type(value) is bool
    if field == "joints_vis" and inner:
        return value in (0, 1) and type(value) in (int, float, bool)
    if field == "bbox" and inner and path[-1] >= 2:
        return is_number(value, 0)
    if inner:
        return is_number(value)
    if field == "scale":
        return is_number(value, 1e-300)
    if field == "crowdIndex":
        return is_number(value, 0, 1)
    if field in ("height", "width"):
        return is_number(value, 1) and value == int(value)
    if field in ("file_name", "image"):
        return isinstance(value, str) and value not in ("", "\x00")
    # Nothing reads num_keypoints, segmentations beside an area, or the names of categories.
    return field in ("num_keypoints", "segmentation", "name")


class Mutation:
    """One change of a document, drawn by hypothesis."""

    def __init__(self, content: Any, draw: st.DataObject) -> None:
        self.content = copy.deepcopy(content)
        self.path = draw.draw(st.sampled_from(paths(content)))
        *parents, key = self.path
        parent = self.content
        for step in parents:
            parent = parent[step]
        kind = draw.draw(
            st.sampled_from(["replace"] * 4 + ["delete", "wrap", "text", "repeat", "insert null"])
        )
        old = parent[key]
        if kind == "delete":
            del parent[key]
            # A file is valid without a person, and without the fields that nothing reads.
            removed = len(self.path) <= 2
            optional = key in ("num_keypoints", "segmentation", "name") or str(key).endswith("_valid")
            self.valid = removed or optional
        elif kind == "repeat" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(old))
            self.valid = isinstance(content, list) and len(self.path) == 1  # a person of MPII has no id
        elif kind == "insert null" and isinstance(parent, list):
            parent.insert(key, None)
            self.valid = False
        else:
            values = {"wrap": [old], "text": str(old)}
            parent[key] = values[kind] if kind in values else draw.draw(st.sampled_from(ODD))
            self.valid = is_valid(self.path, parent[key])
        self.kind = kind


def values_of(name: str, format: str, expected_results: list[dict] | None = None) -> Any:
    """What training and evaluation use of a dataset: records, ground truth, and metrics by both libraries."""
    skeleton = SKELETONS[format]
    records = load_dataset(name, skeleton)
    ground_truth = read_dataset(name, skeleton)
    keys = ("id", "image_id", "category_id", "bbox", "keypoints", "iscrowd", "area", "num_keypoints")
    used = [
        [
            {key: image.get(key) for key in ("id", "height", "width", "crowdIndex")}
            for image in ground_truth["images"]
        ],
        [{key: person[key] for key in keys} for person in ground_truth.get("annotations", [])],
    ]
    metrics = []
    if ground_truth.get("annotations"):
        functions = {"crowdpose": crowdpose_score, "coco_wholebody": wholebody_score}
        results = [
            {key: person[key] for key in ("image_id", "category_id", "keypoints")} | {"score": 1 - n / 10}
            for n, person in enumerate(ground_truth["annotations"])
        ]
        for backend in ("hotcoco", "pycocotools"):
            if format in functions:
                metrics.append(functions[format](ground_truth, results, skeleton.sigmas, backend))
            else:
                metrics.append(score(ground_truth, results, "keypoints", skeleton.sigmas, backend))
        assert metrics[0] == pytest.approx(metrics[1], nan_ok=True), "both libraries give the same numbers"
    return json.loads(json.dumps([records, used])), metrics[:1]


@pytest.mark.parametrize("format", SKELETONS)
def test_mutated_files(format, tmp_path, caplog):
    for image_id in (1, 2, 3):
        Image.new("RGB", (90, 80)).save(tmp_path / f"{image_id}.png")
    file = Path(tmp_path, "annotations.json")
    name = f"mutated_{format}"
    register(name, file, tmp_path, SKELETONS[format], format=format)
    content = make_content(format)
    file.write_text(json.dumps(content))
    untouched = values_of(name, format)
    assert not caplog.records, "the file before has nothing to warn of"
    refused = []

    @settings(
        max_examples=MUTATIONS,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(st.data())
    def check(data):
        mutation = Mutation(content, data)
        file.write_text(json.dumps(mutation.content))
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING):
                found = values_of(name, format)
        except (ValueError, FileNotFoundError) as error:
            refused.append(str(error))
            return
        if not mutation.valid and not caplog.records:
            assert str(found) == str(untouched), f"{mutation.kind} {mutation.path}: another value in silence"

    try:
        check()
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    print(f"\nattack: mutated {format} files: {MUTATIONS} tries, {len(refused)} refused, 0 raw, 0 in silence")
    assert len(refused) > 50
    # An image that does not exist is named by its own path.
    assert all(str(file) in message or f"image {tmp_path}" in message for message in refused)
