"""Reads MPII Human Pose's own file, ``mpii_human_pose_v1_u12_1.mat``: :func:`read_mpii_mat`.

Pixels count from 1 in it, so 1 is subtracted. Test images have no joints and are left out; so are persons
with a box of their head alone.
"""

from pathlib import Path
from typing import Any

import numpy as np

from posecore.data.importers.dataset import (
    ImportedDataset,
    ImportedImage,
    ImportedPerson,
    ImportOptions,
    Notes,
    SourceSkeleton,
)
from posecore.data.importers.files import ImageFinder, checked_size, clean_parts, number
from posecore.data.mat_files import mat_names, read_mat
from posecore.structures.skeleton import load_skeleton

SKELETON = "mpii_16"


def is_mpii_mat(source: Path) -> bool:
    """Whether a path is MPII's file, or a folder with it."""
    return _file(source) is not None


def read_mpii_mat(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads the file, or the folder that has it.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names it.
    """
    file = _file(source)
    if file is None:
        raise FileNotFoundError(f"{source} has no file mpii_human_pose*.mat")
    content = read_mat(file, ["RELEASE"], squeezed=True)
    if not hasattr(content.get("RELEASE"), "annolist"):
        raise ValueError(f"{file} has no struct RELEASE with annolist, as MPII's file has")
    structure, notes = content["RELEASE"], Notes()
    names = load_skeleton(SKELETON).keypoints
    entries = np.atleast_1d(structure.annolist)
    training = np.atleast_1d(getattr(structure, "img_train", np.ones(len(entries))))
    if len(training) != len(entries):
        raise ValueError(f"{file}: img_train has {len(training)} entries, and annolist {len(entries)}")
    finder = ImageFinder([options.images, file.parent / "images", file.parent])
    images = []
    for place, (entry, is_training) in enumerate(zip(entries, training, strict=True), start=1):
        name = str(getattr(getattr(entry, "image", None), "name", ""))
        if not clean_parts(name):
            raise ValueError(f"{file}: entry {place} of annolist has no name of an image")
        if not is_training:
            notes.leave_out("test images, which have no joints", name)
            continue
        persons = []
        for person in np.atleast_1d(getattr(entry, "annorect", [])):
            keypoints = _keypoints(person, len(names), f"{file}: image {name}")
            if keypoints[:, 2].any():
                persons.append(ImportedPerson(keypoints))
            else:
                notes.leave_out("persons without joints (a box of the head alone)", name)
        path = finder.find(name)
        if (size := checked_size(name, path, None, notes)) is not None:
            images.append(ImportedImage(name, path, *size, tuple(persons)))
    return ImportedDataset("mpii-mat", SourceSkeleton("person", names), tuple(images), notes)


def _file(source: Path) -> Path | None:
    if source.is_dir():
        return next((file for file in sorted(source.glob("mpii_human_pose*.mat")) if file.is_file()), None)
    if source.suffix.lower() != ".mat":
        return None
    if source.name.startswith("mpii_human_pose"):
        return source
    return source if "RELEASE" in mat_names(source) else None


def _keypoints(person: Any, count: int, where: str) -> np.ndarray:
    """(K, 3) of a person; nothing is labeled where it has no joints."""
    keypoints = np.zeros((count, 3))
    points = getattr(getattr(person, "annopoints", None), "point", None)
    if points is None:
        return keypoints
    for point in np.atleast_1d(points):
        index = number(getattr(point, "id", None), f"{where}: id of a joint")
        if not index.is_integer() or not 0 <= index < count:
            raise ValueError(
                f"{where}: the id of a joint must be a whole number from 0 to {count - 1}, not {index:g}"
            )
        x, y = (number(getattr(point, key, None), f"{where}: {key} of joint {index:g}") for key in ("x", "y"))
        visible = np.atleast_1d(getattr(point, "is_visible", []))
        hidden = visible.size == 1 and str(visible[0]).strip() in ("0", "0.0")
        keypoints[int(index)] = x - 1, y - 1, 1 if hidden else 2
    return keypoints
