"""Makes a dataset of Leeds Sports Pose extended (Johnson and Everingham, CVPR 2011): :func:`prepare_lspet`.

The published archive has 10,000 photographs, ``images/im00001.jpg`` and so on, and ``joints.mat``. Its matrix
``joints`` (14, 3, 10000) holds x, y and whether the joint is visible, by joint and photograph; pixels count
from 1. One person of a photograph is labeled; many show others as well. What is made of it:

* Joints count pixels from 0. A visible one within the photograph is labeled, v = 2; the others are not.
* A photograph wider or higher than SIZE is cut to SIZE pixels around the center of the rectangle of the
  labeled joints; where the photograph ends nearer, the cut begins or ends there. Nothing is scaled.
* Persons with fewer than MIN_JOINTS labeled joints are left out.
* The box is the rectangle of the joints, enlarged on each side by 0.1 of its longer side, within the image.
  The area is 0.53 of the box, as where an area is missing.
* Near duplicates (:mod:`posecore.data.near_duplicates`) are on one side of the split.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from posecore.data.image_writer import write_image
from posecore.data.images import read_image
from posecore.data.mat_files import read_mat
from posecore.data.near_duplicates import image_bits, near_duplicates, split_groups
from posecore.structures.boxes import AREA_OF_BOX
from posecore.structures.skeleton import load_skeleton

# The skeleton of the joints, which are in its order in the archive.
SKELETON = "lsp_14"
# A person with fewer labeled joints says too little about a pose.
MIN_JOINTS = 5
# The greatest width and height of an image, pixels. Persons are about 150 pixels long in the archive.
SIZE = 272

# A box is the joints' rectangle, enlarged on each side by this share of its longer side.
_MARGIN = 0.1


@dataclass(frozen=True)
class LSPETArchive:
    """The content of the archive for N photographs.

    Attributes:
        joints: (N, 14, 3): x and y in pixels counted from 1, and 1 where the joint is visible, else 0.
        images: the files of the photographs.
    """

    joints: np.ndarray
    images: list[Path]


@dataclass(frozen=True)
class CutPerson:
    """What is kept of a photograph, and its person.

    Attributes:
        rows, columns: of the photograph.
        keypoints: (14, 3): x and y in pixels of the cut image counted from 0, and v.
    """

    rows: slice
    columns: slice
    keypoints: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the cut image."""
        return self.columns.stop - self.columns.start, self.rows.stop - self.rows.start


@dataclass(frozen=True)
class LSPETCounts:
    """What :func:`prepare_lspet` has made.

    Attributes:
        train, test: the numbers of images.
        left_out: the number of photographs that are in neither.
        groups: the number of groups of two near duplicates or more.
        duplicates: the number of images in them.
    """

    train: int
    test: int
    left_out: int
    groups: int
    duplicates: int


def prepare_lspet(
    archive: str | Path, folder: str | Path, *, num_test: int = 1000, seed: int = 0
) -> LSPETCounts:
    """Writes train.json and test.json in COCO's keypoint format, and their images, into a folder.

    Args:
        archive: the folder of the unpacked archive.
        folder: gets the files; made if it is not there.
        num_test: number of images in test.json; all others are in train.json.
        seed: of the split.

    Raises:
        FileNotFoundError, ValueError: the archive is incomplete or another one, or there are no more images
            than ``num_test``; the message names the file.
    """
    content = read_lspet(archive)
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    people, bits = [], []
    for number, (file, joints) in enumerate(
        zip(tqdm(content.images, unit="image"), content.joints, strict=True), start=1
    ):
        image = read_image(file)
        height, width = image.shape[:2]
        cut = _cut(joints, width, height)
        if cut is None:
            continue
        name = f"{number:05}.jpg"
        if cut.size == (width, height):
            shutil.copyfile(file, folder / "images" / name)
        else:
            write_image(folder / "images" / name, image[cut.rows, cut.columns])
        people.append(_entries(number, name, cut))
        bits.append(image_bits(image))
    if len(people) <= num_test:
        raise ValueError(
            f"{archive} has {len(people)} persons with {MIN_JOINTS} labeled joints or more: there must be "
            f"more than the {num_test} of the test set"
        )
    groups = near_duplicates(np.stack(bits))
    in_test = split_groups(groups, num_test, seed)
    for split, chosen in (("train", ~in_test), ("test", in_test)):
        info = (
            f"Leeds Sports Pose extended, {split}; seed {seed} of the split; one person per image is labeled"
        )
        own = [entries for entries, is_own in zip(people, chosen, strict=True) if is_own]
        (folder / f"{split}.json").write_text(json.dumps(_document(info, own)))
    sizes = np.bincount(groups)
    return LSPETCounts(
        train=int((~in_test).sum()),
        test=int(in_test.sum()),
        left_out=len(content.images) - len(people),
        groups=int((sizes > 1).sum()),
        duplicates=int(sizes[sizes > 1].sum()),
    )


def read_lspet(archive: str | Path) -> LSPETArchive:
    """Reads joints.mat of the unpacked archive, and checks that all photographs are there.

    Args:
        archive: the folder with joints.mat and images/, or a folder with that one alone.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or joints.mat has another content; the message
            names the file.
    """
    folder = Path(archive)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: it must be that of the unpacked archive")
    files = [folder / "joints.mat", *sorted(folder.glob("*/joints.mat"))]
    found = [file for file in files if file.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no joints.mat: it must be the folder of the unpacked archive")
    joints = lspet_joints(load_joints(found[0]), found[0])
    images = [found[0].parent / "images" / f"im{index:05}.jpg" for index in range(1, len(joints) + 1)]
    if missing := [image for image in images if not image.is_file()]:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(images)} images of {found[0]} do not exist, the first of them is "
            f"{missing[0]}"
        )
    return LSPETArchive(joints, images)


def load_joints(file: Path) -> np.ndarray:
    """The matrix ``joints`` of a MATLAB file, as it is.

    Raises:
        ValueError: the file cannot be read, or has no such matrix of real numbers; the message names it.
    """
    content = read_mat(file, ["joints"])
    if "joints" not in content:
        raise ValueError(f"{file} has no matrix 'joints'")
    joints = content["joints"]
    if not np.issubdtype(joints.dtype, np.number) or np.iscomplexobj(joints):
        raise ValueError(f"{file}: joints must be real numbers, not {joints.dtype}")
    return joints


def lspet_joints(joints: np.ndarray, file: Path) -> np.ndarray:
    """The joints of the photographs, checked: (14, 3, N) -> (N, 14, 3).

    Args:
        joints: the matrix of joints.mat; of one photograph also (14, 3).
        file: for messages.

    Raises:
        ValueError: it has another shape or content.
    """
    num_joints = load_skeleton(SKELETON).num_keypoints
    # MATLAB drops last axes of length 1.
    joints = joints[..., None] if joints.shape == (num_joints, 3) else joints
    if joints.ndim != 3 or joints.shape[:2] != (num_joints, 3) or not joints.shape[2]:
        hint = ""
        if joints.shape[:2] == (3, num_joints):
            hint = (
                "; Leeds Sports Pose without its extension has that shape, and another meaning of the third"
            )
        raise ValueError(f"{file}: joints must be ({num_joints}, 3, images), not {joints.shape}{hint}")
    joints = joints.transpose(2, 0, 1).astype(np.float64)
    visible = joints[..., 2]
    if wrong := np.flatnonzero(~np.isin(visible, (0, 1)).all(axis=1)).tolist():
        raise ValueError(f"{file}: joints of image {wrong[0] + 1}: visible must be 0 or 1")
    finite = np.isfinite(joints).all(axis=2) | (visible == 0)
    if wrong := np.flatnonzero(~finite.all(axis=1)).tolist():
        raise ValueError(f"{file}: joints of image {wrong[0] + 1}: x and y must be finite where visible is 1")
    return joints


def _cut(joints: np.ndarray, width: int, height: int) -> CutPerson | None:
    """A photograph of this size cut around its person; None where too few joints are labeled.

    Args:
        joints: (14, 3), as in :class:`LSPETArchive`.
        width, height: of the photograph.
    """
    keypoints = _labeled_within((joints - (1, 1, 0)) * (1, 1, 2), width, height)
    if not _is_posed(keypoints):
        return None
    low, high = _bounds(keypoints)
    slices = []
    for center, length in zip((low + high) / 2, (width, height), strict=True):
        kept = min(SIZE, length)
        start = int(np.clip(round(center - kept / 2), 0, length - kept))
        slices.append(slice(start, start + kept))
    columns, rows = slices
    keypoints = keypoints - (columns.start, rows.start, 0)
    keypoints = _labeled_within(keypoints, columns.stop - columns.start, rows.stop - rows.start)
    return CutPerson(rows, columns, keypoints) if _is_posed(keypoints) else None


def _labeled_within(keypoints: np.ndarray, width: int, height: int) -> np.ndarray:
    """The keypoints (14, 3) that are labeled and within an image of this size; 0 for the others."""
    points = keypoints[:, :2] + 0.5
    inside = ((points >= 0) & (points <= (width, height))).all(axis=1) & (keypoints[:, 2] > 0)
    return np.where(inside[:, None], keypoints, 0)


def _is_posed(keypoints: np.ndarray) -> bool:
    return bool((keypoints[:, 2] > 0).sum() >= MIN_JOINTS)


def _bounds(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper left and the lower right corner of the labeled keypoints' rectangle."""
    labeled = keypoints[keypoints[:, 2] > 0, :2]
    return labeled.min(axis=0), labeled.max(axis=0)


def _entries(number: int, name: str, cut: CutPerson) -> tuple[dict[str, Any], dict[str, Any]]:
    """The image and the annotation of a person; both have the photograph's number for their id."""
    width, height = cut.size
    low, high = _bounds(cut.keypoints)
    margin = _MARGIN * (high - low).max()
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, (width, height))
    annotation = {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": np.round([*low, *(high - low)], 2).tolist(),
        "area": round(float(AREA_OF_BOX * (high - low).prod()), 2),
        "keypoints": np.round(cut.keypoints, 2).ravel().tolist(),
        "num_keypoints": int((cut.keypoints[:, 2] > 0).sum()),
    }
    return {"id": number, "file_name": name, "width": width, "height": height}, annotation


def _document(description: str, people: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """A document in COCO's format."""
    category = {"id": 1, "name": "person", "keypoints": list(load_skeleton(SKELETON).keypoints)}
    return {
        "info": {"description": description},
        "categories": [category],
        "images": [image for image, _ in people],
        "annotations": [annotation for _, annotation in people],
    }
