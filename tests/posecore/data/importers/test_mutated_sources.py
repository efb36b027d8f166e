"""Samples of which values are lost or replaced: an importer reads what is left, or says what is wrong."""

import copy
import json
import os
import random
import re
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

NUM_MUTATIONS = int(os.environ.get("POSECORE_ATTACK_SOURCES", 12))
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
    10**400,
    1e300,
    "a\nb",
    "../../x",
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


def refusals(format: str, folder: Path) -> list[str]:
    """The message with which an import of a folder is refused; none where it ends in valid JSON."""
    try:
        dataset = IMPORTERS[format].read(folder, ImportOptions())
        check_content(dataset, folder)
        skeleton = complete_skeleton(dataset, "s")
        for images in split_images(dataset, None, "auto", 0).values():
            json.dumps(coco_document(images, skeleton, dataset), allow_nan=False)
    except (ValueError, OSError) as error:
        return [str(error)]
    return []


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
        messages += refusals(SAMPLES[name], folder)
    assert all(str(folder) in message or "skeleton 's'" in message for message in messages), messages
    assert len(messages) < NUM_MUTATIONS


# Files of text by the format of their folder.
TEXTS = {
    "cvat/xml_images": "cvat",
    "cvat/xml_video": "cvat",
    "cvat/yolo_pose": "ultralytics",
    "deeplabcut/multi": "deeplabcut",
    "deeplabcut/single": "deeplabcut",
    "ultralytics/dogs": "ultralytics",
    "ultralytics/fish_list": "ultralytics",
    "ultralytics/split_first": "ultralytics",
    "via/project": "via",
}
TEXT_ENDINGS = (".xml", ".csv", ".txt", ".yaml", ".json")
TOKENS = [
    "nan",
    "inf",
    "-1",
    "1e300",
    "1e400",
    "9" * 400,
    "true",
    "x",
    "",
    "null",
    "[]",
    "../x",
    "'",
    '"',
    "\0",
    "\n",
]


def mutated_text(text: str, choices: random.Random) -> str:
    """The text with a word or a line lost, repeated or replaced."""
    kind = choices.randrange(4)
    if kind == 0:
        lines = text.splitlines(keepends=True)
        place = choices.randrange(len(lines))
        lines[place : place + 1] = lines[place : place + 1] * choices.choice([0, 2])
        return "".join(lines)
    if kind == 1:
        return text[: choices.randrange(len(text))]
    words = list(re.finditer(r"[-\w.]+", text))
    word = choices.choice(words)
    return text[: word.start()] + choices.choice(TOKENS) + text[word.end() :]


@pytest.mark.parametrize("name", TEXTS)
def test_mutated_texts(formats, tmp_path, name):
    folder = tmp_path / "in"
    shutil.copytree(formats / name, folder)
    files = [
        file for file in sorted(folder.rglob("*")) if file.suffix in TEXT_ENDINGS and file.read_text().strip()
    ]
    choices = random.Random(name)
    messages = []
    for _ in range(NUM_MUTATIONS):
        file = choices.choice(files)
        text = file.read_text()
        file.write_text(mutated_text(text, choices))
        messages += refusals(TEXTS[name], folder)
        file.write_text(text)
    assert all(str(folder) in message or "skeleton 's'" in message for message in messages), messages
