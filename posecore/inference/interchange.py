"""Writes poses in the formats of other tools: :func:`open_export`, :func:`to_supervision`.

coco      one file, ``coco_results.json``, in COCO's result format
openpose  a file for each image in ``openpose/``, with the 25 keypoints of BODY_25
labelme   a file for each image in ``labelme/``, which labelme opens with the image

All of these tools count pixels from the first pixel's center, so that 0.5 is taken off continuous pixels.
Poses are written as they were predicted, not smoothed.
"""

import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from detectron2.structures import Instances

from posecore.config.extras import require_package
from posecore.config.merge import UsageError
from posecore.data.formats.document import Entry, FileName, Id, load_json, validated
from posecore.inference.records import RecordFile
from posecore.inference.video import Source
from posecore.structures.skeleton import Skeleton

if TYPE_CHECKING:
    import supervision

COCO_RESULTS = "coco_results.json"
# The name of posecore's own format, poses.json, which every prediction writes.
POSECORE = "posecore"

# The keypoints of BODY_25 by the names of coco_17 and coco_wholebody_133; a pair is the middle of two.
_BODY_25: tuple[str | tuple[str, str], ...] = (
    "nose",
    ("left_shoulder", "right_shoulder"),
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    ("left_hip", "right_hip"),
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
)
# These may be missing in a skeleton.
_FEET = frozenset(_BODY_25[19:])
_EMPTY = (
    "face_keypoints_2d",
    "hand_left_keypoints_2d",
    "hand_right_keypoints_2d",
    "pose_keypoints_3d",
    "face_keypoints_3d",
    "hand_left_keypoints_3d",
    "hand_right_keypoints_3d",
)


class Export(ABC):
    """Writes the records of a prediction (:func:`posecore.inference.records.pose_record`) in another format.

    Making one checks that the sources and the skeleton fit the format; no file is written before
    :meth:`write`.

    Raises:
        UsageError: they do not fit; says why.
    """

    @abstractmethod
    def write(self, record: Mapping[str, Any]) -> None:
        """Writes an image.

        Raises:
            UsageError: a file cannot be written; names it.
        """

    def close(self, complete: bool) -> None:  # noqa: B027  (most formats have nothing to end)
        """Ends the format's files.

        Args:
            complete: whether all sources were predicted; a format of one file keeps an earlier file if not.
        """


class COCOExport(Export):
    """COCO's results: a list with ``image_id``, ``category_id`` 1, ``keypoints`` and ``score`` per person.

    Args:
        folder: of the output.
        sources: of the prediction.
        image_ids: the id of each image by its name or by its file name; None where the names are numbers.
    """

    def __init__(
        self, folder: Path, sources: Sequence[Source], image_ids: Mapping[str, int | str] | None
    ) -> None:
        self.folder = folder
        self._file: RecordFile | None = None
        # A single video counts its images.
        self._by_number = image_ids is None and len(sources) == 1 and sources[0].kind != "image"
        self._ids: dict[str, int | str] = {}
        if self._by_number:
            return
        for source in sources:
            self._ids[source.name] = _image_id(source, image_ids)
        if repeated := [key for key, count in Counter(self._ids.values()).items() if count > 1]:
            names = [name for name, key in self._ids.items() if key == repeated[0]]
            raise UsageError(
                f"--format coco: images {names[0]} and {names[1]} would both have the image_id "
                f"{repeated[0]!r}; predict them one by one, or give --image-ids"
            )

    def write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            self._file = RecordFile(self.folder / f"{COCO_RESULTS}.part")
        for person in record["people"]:
            points = [(x - 0.5, y - 0.5, score) for x, y, score in person["keypoints"].values()]
            result = {
                "image_id": record["number"] if self._by_number else self._ids[record["name"]],
                "category_id": 1,
                "keypoints": [value for point in points for value in point],
                "score": person["score"],
            }
            self._file.write(result | ({"track_id": person["id"]} if person.get("id") else {}))

    def close(self, complete: bool) -> None:
        if self._file is not None:
            if complete or not (self.folder / COCO_RESULTS).exists():
                self._file.finish(self.folder / COCO_RESULTS)
            else:
                self._file.discard()


class OpenPoseExport(Export):
    """OpenPose's JSON files: ``NAME_keypoints.json``, in a video ``NAME_000000000000_keypoints.json``.

    Args:
        folder: of the output.
        sources: of the prediction.
        skeleton: must have the keypoints of coco_17; feet are written where it has them.
    """

    def __init__(self, folder: Path, sources: Sequence[Source], skeleton: Skeleton) -> None:
        needed = {
            name
            for part in _BODY_25
            if part not in _FEET
            for name in ((part,) if isinstance(part, str) else part)
        }
        if lacking := sorted(needed - set(skeleton.keypoints)):
            raise UsageError(
                f"--format openpose needs the keypoints of coco_17; the skeleton {skeleton.name} lacks "
                f"{', '.join(lacking)}: choose coco, labelme or posecore"
            )
        self.folder = folder / "openpose"
        self._stems = _file_stems(sources)

    def write(self, record: Mapping[str, Any]) -> None:
        number = "" if record["number"] is None else f"_{record['number']:012d}"
        people = [self._person(person) for person in record["people"]]
        file = self.folder / f"{self._stems[record['name']]}{number}_keypoints.json"
        _write_json(file, {"version": 1.3, "people": people})

    @staticmethod
    def _person(person: Mapping[str, Any]) -> dict[str, Any]:
        points: list[float] = []
        for part in _BODY_25:
            names = (part,) if isinstance(part, str) else part
            if not all(name in person["keypoints"] for name in names):
                points += [0, 0, 0]
                continue
            found = np.array([person["keypoints"][name] for name in names])
            # The middle of two keypoints is as certain as the less certain one.
            points += [*(found[:, :2].mean(axis=0) - 0.5).tolist(), float(found[:, 2].min())]
        return {"person_id": [person.get("id") or -1], "pose_keypoints_2d": points} | {
            name: [] for name in _EMPTY
        }


class LabelmeExport(Export):
    """labelme's JSON files: shapes of the type ``point`` with the keypoint's name, in a group per person.

    The person's box is a rectangle ``person`` of the same group. Scores are in the descriptions.

    Args:
        folder: of the output.
        sources: of the prediction, all of them image files.
    """

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        for source in sources:
            if source.kind != "image":
                raise UsageError(
                    f"--format labelme needs image files, and {source} is none: save its images first"
                )
        self.folder = folder / "labelme"
        self._stems = _file_stems(sources)
        self._files = {source.name: Path(source.address).absolute() for source in sources}

    def write(self, record: Mapping[str, Any]) -> None:
        file = self.folder / f"{self._stems[record['name']]}.json"
        image = os.path.relpath(self._files[record["name"]], file.parent.absolute())
        shapes = []
        for group, person in enumerate(record["people"], start=1):
            corners = np.array(person["box"]).reshape(2, 2)
            shapes.append(_shape("person", corners, "rectangle", group, person["score"]))
            for name, (x, y, score) in person["keypoints"].items():
                shapes.append(_shape(name, np.array([[x, y]]), "point", group, score))
        content = {
            "version": "5.7.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": Path(image).as_posix(),
            "imageData": None,
            "imageHeight": record["height"],
            "imageWidth": record["width"],
        }
        _write_json(file, content)


# Each format's name, and the function that opens it for a folder, the sources, the skeleton and image ids.
Opener = Callable[[Path, Sequence[Source], Skeleton, Mapping[str, int | str] | None], Export | None]
FORMATS: dict[str, Opener] = {
    POSECORE: lambda folder, sources, skeleton, image_ids: None,
    "coco": lambda folder, sources, skeleton, image_ids: COCOExport(folder, sources, image_ids),
    "openpose": lambda folder, sources, skeleton, image_ids: OpenPoseExport(folder, sources, skeleton),
    "labelme": lambda folder, sources, skeleton, image_ids: LabelmeExport(folder, sources),
}


class ImageName(Entry):
    """What --image-ids takes of an entry of "images"."""

    id: Id
    file_name: FileName


def read_image_ids(file: Path) -> dict[str, int | str]:
    """The ``id`` of each ``file_name`` of an annotation file in COCO's format.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is of another format, or two images have one name; names it.
    """
    content = load_json(file, "--image-ids")
    images = content.get("images") if isinstance(content, dict) else None
    try:
        entries = list(validated(images, ImageName, "image"))
        names = [entry.file_name for entry in entries]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"two images have the file_name {repeated[0]}")
    except ValueError as error:
        raise ValueError(
            f"--image-ids {file} must be an annotation file in COCO's format, with images that have "
            f"file_name and id: {error}"
        ) from error
    return {entry.file_name: entry.id for entry in entries}


def to_supervision(
    poses: Instances | Mapping[str, Any], skeleton: Skeleton | None = None
) -> "supervision.KeyPoints":
    """The persons of an image for the package supervision (https://github.com/roboflow/supervision).

    Args:
        poses: what a predictor returns, or a record of poses.json.
        skeleton: the order of a record's keypoints; None for their order in the record.

    Returns:
        ``xy`` (M, K, 2) in continuous pixels, the confidences of keypoints and persons, ``class_id`` 0, and
        in ``data`` the identities as ``tracker_id`` where persons were tracked (0 for none yet).

    Raises:
        UsageError: supervision is not installed.
    """
    require_package("supervision", "supervision", "to_supervision")
    from supervision import KeyPoints

    if isinstance(poses, Instances):
        keypoints = poses.pred_keypoints.detach().cpu().numpy().astype(np.float32)
        scores = poses.scores.detach().cpu().numpy().astype(np.float32)
        ids = poses.track_ids.cpu().numpy() if poses.has("track_ids") else None
    else:
        people = poses["people"]
        names = list(skeleton.keypoints if skeleton else people[0]["keypoints"] if people else ())
        points = [[person["keypoints"][name] for name in names] for person in people]
        keypoints = np.array(points, dtype=np.float32).reshape(len(people), len(names), 3)
        scores = np.array([person["score"] for person in people], dtype=np.float32)
        tracked = bool(people) and "id" in people[0]
        ids = np.array([person["id"] or 0 for person in people]) if tracked else None
    return KeyPoints(
        xy=keypoints[..., :2],
        class_id=np.zeros(len(keypoints), dtype=int),
        keypoint_confidence=keypoints[..., 2],
        detection_confidence=scores,
        data={} if ids is None else {"tracker_id": ids},
    )


def _image_id(source: Source, image_ids: Mapping[str, int | str] | None) -> int | str:
    """The id of an image.

    Raises:
        UsageError: it has none.
    """
    if source.kind != "image":
        raise UsageError(
            f"--format coco counts the images of a video that is the only input, and {source} is not: "
            "predict it alone"
        )
    path = Path(source.name)
    if image_ids is not None:
        for name in (source.name, path.name):
            if name in image_ids:
                return image_ids[name]
        raise UsageError(f"--image-ids has no image of the file name {source.name}")
    if not (path.stem.isascii() and path.stem.isdecimal()):
        raise UsageError(
            f"--format coco takes the number that an image's name is for its image_id, and {source.name} is "
            "none: give --image-ids, an annotation file that has the id of each file name"
        )
    return int(path.stem)


def _file_stems(sources: Sequence[Source]) -> dict[str, str]:
    """The names of sources without their endings, where these differ, else the whole names."""
    stems = {source.name: str(Path(source.name).with_suffix("")) for source in sources}
    counts = Counter(stems.values())
    return {name: stem if counts[stem] == 1 else name for name, stem in stems.items()}


def _shape(name: str, points: np.ndarray, kind: str, group: int, score: float) -> dict[str, Any]:
    """A shape of labelme; points (n, 2) in continuous pixels."""
    return {
        "label": name,
        "points": (points - 0.5).tolist(),
        "group_id": group,
        "description": f"{score:.4f}",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Writes a file as a whole.

    Raises:
        UsageError: it cannot be written.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content))
        os.replace(part, file)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def open_export(
    name: str,
    folder: Path,
    sources: Sequence[Source],
    skeleton: Skeleton,
    image_ids: Mapping[str, int | str] | None = None,
) -> Export | None:
    """Opens a format; None for posecore's own, poses.json.

    Args:
        name: a key of :data:`FORMATS`.
        folder: of the output.
        sources: of the prediction.
        skeleton: of the poses.
        image_ids: for coco (:func:`read_image_ids`).

    Raises:
        UsageError: there is no such format, or the sources or the skeleton do not fit it.
    """
    if name not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name](folder, sources, skeleton, image_ids)
