"""Reads ``joints.mat`` of Leeds Sports Pose and of its extension: :func:`read_lsp_mat`.

Both have 14 joints of one person in each image, and count pixels from 1. The third number of a joint says in
Leeds Sports Pose that it is hidden, and in the extension that it is labeled. Images are not cut, unlike those
of datasets/prepare_lspet.py, which makes the datasets that this project's figures are measured on.
"""

from pathlib import Path

import numpy as np

from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.images import ImageFinder, checked_size
from posecore.data.importers.matlab_files import MatlabFile
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.lspet import SKELETON, load_joints, lspet_joints
from posecore.structures.skeleton import load_skeleton

LSP_FILE = MatlabFile("joints.mat", variable="joints")


def read_lsp_mat(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads the file, or the folder that has it.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names it.
    """
    file = LSP_FILE.find(source)
    notes = Notes()
    skeleton = load_skeleton(SKELETON)
    joints = load_joints(file)
    is_extension = joints.shape[:2] == (skeleton.num_keypoints, 3)
    people = _extension(joints, file) if is_extension else _original(joints, file, skeleton.num_keypoints)
    finder = ImageFinder([options.images, file.parent])
    images = []
    for number, keypoints in enumerate(people, start=1):
        name = f"images/im{number:05}.jpg" if is_extension else f"images/im{number:04}.jpg"
        path = finder.find(name)
        person = ImportedPerson(keypoints)
        if (size := checked_size(name, path, None, notes)) is not None:
            images.append(ImportedImage(name, path, *size, (person,) if person.is_labeled else ()))
    source_skeleton = SourceSkeleton("person", skeleton.keypoints)
    return ImportedDataset("lsp-mat", source_skeleton, tuple(images), notes)


def _extension(joints: np.ndarray, file: Path) -> np.ndarray:
    """(N, 14, 3) of the extension's matrix, whose third number says that a joint is labeled."""
    people = lspet_joints(joints, file)
    labeled = people[..., 2:] > 0
    return np.where(labeled, np.concatenate([people[..., :2] - 1, 2 * people[..., 2:]], axis=-1), 0.0)


def _original(joints: np.ndarray, file: Path, count: int) -> np.ndarray:
    """(N, 14, 3) of the matrix (3, 14, N), whose third number says that a joint is hidden."""
    joints = joints[..., None] if joints.ndim == 2 else joints
    if joints.ndim != 3 or joints.shape[:2] != (3, count) or not joints.shape[2]:
        raise ValueError(
            f"{file}: joints must be (3, {count}, images) or ({count}, 3, images), not {joints.shape}"
        )
    people = joints.transpose(2, 1, 0).astype(float)
    if not np.isfinite(people).all() or not np.isin(people[..., 2], (0, 1)).all():
        raise ValueError(f"{file}: joints must be finite, and the third number of each 0 or 1")
    return np.concatenate([people[..., :2] - 1, np.where(people[..., 2:] == 1, 1.0, 2.0)], axis=-1)
