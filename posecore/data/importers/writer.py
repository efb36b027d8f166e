"""Writes an import as a dataset of this project: :func:`write_dataset`.

The folder gets ``annotations/<split>.json`` in COCO's format, ``images/`` with links to the files,
``skeleton.yaml`` and, for each split, its definition ``<split>.yaml``. It is made beside its place and moved
there as a whole, so that no half of a dataset is ever left.
"""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from posecore.config.errors import UsageError
from posecore.data.datasets import is_built_in
from posecore.data.image_writer import write_image
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson
from posecore.data.importers.image_sources import EmbeddedImage, VideoFrame, read_frames
from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import Skeleton

SKELETON_FILE = "skeleton.yaml"
# A folder that has this file was made by an import, and may be replaced.
MARKER = "import.json"
# Of a thin box, such as one around two keypoints, this share of the longer side counts as the shorter one.
_LEAST_ASPECT = 0.25


@dataclass(frozen=True)
class WrittenSplit:
    """A split that was written.

    Attributes:
        name: such as "train".
        dataset: the name of the dataset, for DATASETS.TRAIN.
        definition: its YAML file.
        images, persons: their numbers.
    """

    name: str
    dataset: str
    definition: Path
    images: int
    persons: int


def check_free(folder: Path, overwrite: bool) -> None:
    """Checks that a dataset can be written into a folder, without losing anything.

    Raises:
        UsageError: something is there that is no dataset of an import, or is one and ``overwrite`` is not
            set.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"--output {folder} is a file: give a folder")
    if not any(folder.iterdir()):
        return
    if not (folder / MARKER).is_file():
        raise UsageError(f"--output {folder} is not empty, and no dataset of an import: give another folder")
    if not overwrite:
        raise UsageError(f"--output {folder} has a dataset already: --overwrite replaces it")


def write_dataset(
    dataset: ImportedDataset,
    splits: Mapping[str, list[ImportedImage]],
    skeleton: Skeleton,
    folder: Path,
    *,
    copy: bool = False,
    overwrite: bool = False,
) -> list[WrittenSplit]:
    """Writes a dataset into a folder.

    Args:
        dataset: the import.
        splits: its images by split.
        skeleton: of the persons.
        folder: gets the files; new, empty or, with ``overwrite``, that of an earlier import.
        copy: whether image files are copied instead of linked.
        overwrite: whether an earlier import is replaced.

    Raises:
        UsageError: the folder holds something.
        OSError, ValueError: a file cannot be written, or a frame cannot be read.
    """
    check_free(folder, overwrite)
    with made_whole(folder) as made:
        (made / "annotations").mkdir()
        (made / "images").mkdir()
        _write_images([image for images in splits.values() for image in images], made / "images", copy)
        _write_skeleton(made / SKELETON_FILE, skeleton)
        written = [
            _write_split(dataset, name, images, skeleton, made, folder) for name, images in splits.items()
        ]
        dump_json(made / MARKER, _summary(dataset, written))
    return written


@contextlib.contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which comes to its place when all is written, and is deleted at an error.

    What lies at its place is replaced.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary, "made")
        made.mkdir()
        yield made
        _put_in_place(made, folder, Path(temporary, "before"))


def _put_in_place(made: Path, folder: Path, aside: Path) -> None:
    """Moves a folder to its place; what is there is moved aside first, and back if anything goes wrong."""
    there = folder.exists()
    if there:
        os.replace(folder, aside)
    try:
        os.replace(made, folder)
    except OSError:
        if there:
            os.replace(aside, folder)
        raise


def _write_split(
    dataset: ImportedDataset,
    name: str,
    images: list[ImportedImage],
    skeleton: Skeleton,
    made: Path,
    folder: Path,
) -> WrittenSplit:
    content = coco_document(images, skeleton, dataset)
    dump_json(made / "annotations" / f"{name}.json", content)
    plain = re.sub(r"\W+", "_", folder.absolute().name).strip("_") or "imported"
    unique = f"{plain}_{name}"
    if is_built_in(unique):
        dataset.notes.remark(f"{unique} is a built-in dataset; this one is called my_{unique}")
        unique = f"my_{unique}"
    definition = {
        "name": unique,
        "annotations": f"annotations/{name}.json",
        "images": "images",
        "skeleton": SKELETON_FILE,
    }
    (made / f"{name}.yaml").write_text(yaml.safe_dump(definition, sort_keys=False), encoding="utf-8")
    return WrittenSplit(name, unique, folder / f"{name}.yaml", len(images), len(content["annotations"]))


def coco_document(
    images: list[ImportedImage], skeleton: Skeleton, dataset: ImportedDataset
) -> dict[str, Any]:
    """A document in COCO's format. Ids count from 1; limbs are pairs of keypoint numbers from 1."""
    category = {
        "id": 1,
        "name": dataset.skeleton.category,
        "keypoints": list(skeleton.keypoints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limb_indices],
    }
    entries, annotations = [], []
    for identity, image in enumerate(images, start=1):
        entry: dict[str, Any] = {
            "id": identity,
            "file_name": image.name,
            "width": image.width,
            "height": image.height,
        }
        if isinstance(image.source, VideoFrame):
            entry |= {"video": image.source.video.name, "frame": image.source.index}
        entries.append(entry)
        annotations += [(identity, person) for person in image.persons]
    return {
        "info": {"description": f"imported from {dataset.format}"},
        "categories": [category],
        "images": entries,
        "annotations": [
            _annotation(identity, image_id, person)
            for identity, (image_id, person) in enumerate(annotations, start=1)
        ],
    }


def _annotation(identity: int, image_id: int, person: ImportedPerson) -> dict[str, Any]:
    box = person.enclosing_box()
    return {
        "id": identity,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": int(person.is_crowd),
        "bbox": [round(value, 4) for value in box],
        "area": round(person.area or _area(box), 4),
        "keypoints": [_plain(value) for value in np.round(person.keypoints, 4).ravel().tolist()],
        "num_keypoints": int((person.keypoints[:, 2] > 0).sum()),
    }


def _plain(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _area(box: tuple[float, float, float, float]) -> float:
    """The share of a box that a person covers; a box without width or height still has an area."""
    longer = max(box[2], box[3], 1.0)
    width, height = (max(side, _LEAST_ASPECT * longer) for side in box[2:])
    return AREA_OF_BOX * width * height


def _write_images(images: list[ImportedImage], folder: Path, copy: bool) -> None:
    frames: dict[Path, dict[int, Path]] = defaultdict(dict)
    for image in images:
        file = folder / image.name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image.source, VideoFrame):
            frames[image.source.video][image.source.index] = file
        elif isinstance(image.source, EmbeddedImage):
            file.write_bytes(image.source.content)
        elif image.source is not None:
            place_image(image.source, file, copy)
    for video, files in frames.items():
        for index, pixels in read_frames(video, files):
            write_image(files[index], pixels)


def place_image(source: Path, file: Path, copy: bool) -> None:
    """Copies or links an image file to a new place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        shutil.copyfile(source, file)
    else:
        file.symlink_to(source.resolve())


def _write_skeleton(file: Path, skeleton: Skeleton) -> None:
    lines = [
        "# Written by tools/import_dataset.py: check flip_pairs and sigmas before you train "
        "(docs/own_data.md)."
    ]
    content: dict[str, Any] = {
        "name": skeleton.name,
        "keypoints": list(skeleton.keypoints),
        "flip_pairs": [list(pair) for pair in skeleton.flip_pairs],
        "limbs": [list(pair) for pair in skeleton.limbs],
        "sigmas": list(skeleton.sigmas),
    }
    if any(len(group) > 1 for group in skeleton.groups):
        content["groups"] = [list(group) for group in skeleton.groups]
    if skeleton.body_halves:
        content["body_halves"] = {half: list(names) for half, names in skeleton.body_halves.items()}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    file.write_text("\n".join([*lines, text]), encoding="utf-8")


def _summary(dataset: ImportedDataset, written: list[WrittenSplit]) -> dict[str, Any]:
    return {
        "format": dataset.format,
        "splits": {split.name: {"images": split.images, "persons": split.persons} for split in written},
        "left_out": dict(dataset.notes.left_out),
        "missing_images": dataset.notes.missing,
        "remarks": dataset.notes.remarks,
    }


def dump_json(file: Path, content: Any) -> None:
    """Writes a JSON file that people can read."""
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
