"""Samples of which values are lost or replaced: an importer reads what is left, or says what is wrong."""

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from posecore.data.importers import IMPORTERS
from posecore.data.importers.convert import check_content
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.skeletons import complete_skeleton
from posecore.data.importers.splits import split_images
from posecore.data.importers.writer import coco_document

NUM_MUTATIONS = 12
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1e9,
    float("nan"),
    "",
    "x",
    [],
    {},
    [1],
    [[1]],
    {"a": 1},
    "3.5",
    2**70,
]
SAMPLES = {
    "label_studio/json/export.json": "label-studio",
    "label_studio/json_min/export_min.json": "label-studio",
    "labelme/two_groups/a.json": "labelme",
    "cvat/coco_keypoints/annotations/person_keypoints_default.json": "coco",
    "roboflow_coco/glue/train/_annotations.coco.json": "coco",
    "sleap/json_v2/labels.json": "sleap",
    "via/project/via_project.json": "via",
}


def mutated(content: Any, choices: random.Random) -> Any:
    """The document with one value lost or replaced."""
    content = copy.deepcopy(content)
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            places.append((node, key))
            collect(value)

    collect(content)
    node, key = choices.choice(places)
    if choices.random() < 0.3:
        del node[key]
    else:
        node[key] = copy.deepcopy(choices.choice(VALUES))
    return content


@pytest.mark.parametrize("name", SAMPLES)
def test_mutated_documents(formats, tmp_path, name):
    folder = tmp_path / "in"
    shutil.copytree(formats.joinpath(*Path(name).parts[:2]), folder)
    file = folder.joinpath(*Path(name).parts[2:])
    content = json.loads(file.read_text())
    choices = random.Random(name)
    messages = []
    for _ in range(NUM_MUTATIONS):
        file.write_text(json.dumps(mutated(content, choices)))
        try:
            dataset = IMPORTERS[SAMPLES[name]].read(folder, ImportOptions())
            check_content(dataset, folder)
            skeleton = complete_skeleton(dataset, "s")
            for images in split_images(dataset, None, "auto", 0).values():
                json.dumps(coco_document(images, skeleton, dataset), allow_nan=False)
        except (ValueError, OSError) as error:
            messages.append(str(error))
    assert all(str(folder) in message or "skeleton 's'" in message for message in messages), messages
    assert len(messages) < NUM_MUTATIONS
