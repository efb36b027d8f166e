"""Reads projects of SLEAP, .slp, .pkg.slp and the older .json: :func:`read_sleap`.

Labels are the instances that a person has made; frames with predictions alone are not labeled. A point that
is not ``visible`` is not labeled, for SLEAP's users mark a hidden point as visible. In files before format
1.1 the center of the first pixel is at 0.5, so 0.5 is subtracted. Nothing is unpickled.
"""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posecore.config.extras import require_package
from posecore.data.formats.document import short
from posecore.data.guarded_reading import read_guarded
from posecore.data.importers.choices import choose_category, only_file
from posecore.data.importers.dataset import ImportedDataset, ImportedImage, ImportedPerson, SourceSkeleton
from posecore.data.importers.files import files_below, read_json
from posecore.data.importers.image_sources import EmbeddedImage, ImageSource, VideoFrame
from posecore.data.importers.images import ImageFinder, checked_size, clean_parts
from posecore.data.importers.json_shapes import JsonShape, json_files
from posecore.data.importers.notes import Notes
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.values import pixels

# The format in which coordinates first count from the center of the first pixel, and the newest that is
# known.
_CENTERED, _NEWEST = 1.1, 3.0
_USER = 0
_CATEGORY = "animal"
# The fields of the tables, in their order, for files that have plain matrices.
_FIELDS = {
    "frames": ("frame_id", "video", "frame_idx", "instance_id_start", "instance_id_end"),
    "instances": (
        "instance_id",
        "instance_type",
        "frame_id",
        "skeleton",
        "track",
        "from_predicted",
        "score",
        "point_id_start",
        "point_id_end",
    ),
    "points": ("x", "y", "visible", "complete"),
}


@dataclass(frozen=True)
class _Frame:
    """A labeled frame.

    Attributes:
        video, index: the numbers of its video and of the frame.
        instances: the number of the skeleton and (K, 3) x, y, visible of each instance of a user.
    """

    video: int
    index: int
    instances: list[tuple[int, np.ndarray]]


@dataclass(frozen=True)
class _Project:
    """The content of a file.

    Attributes:
        metadata: skeletons and nodes.
        videos: each as SLEAP describes it.
        frames: with user instances.
        embedded: the number of a video -> (frame -> image), for packages.
    """

    metadata: dict[str, Any]
    videos: list[dict[str, Any]]
    frames: list[_Frame]
    embedded: dict[int, dict[int, EmbeddedImage]]


def is_sleap(source: Path) -> bool:
    """Whether a path is a project, or a folder with one."""
    return bool(_files(source))


def read_sleap(source: Path, options: ImportOptions) -> ImportedDataset:
    """Reads a project, or the folder that has it.

    Raises:
        FileNotFoundError, ValueError: the file is missing or wrong; the message names it.
        UsageError: h5py is not installed.
    """
    files = _files(source)
    file = only_file(files, source, "project of SLEAP")
    project, notes = _read_json_project(file) if file.suffix == ".json" else _read_hdf5(file)
    skeletons = [
        _skeleton(project.metadata, place, file) for place in range(len(_skeletons(project.metadata, file)))
    ]
    used = sorted({place for frame in project.frames for place, _ in frame.instances}) or [0]
    if used[-1] >= len(skeletons):
        raise ValueError(f"{file}: an instance has skeleton {used[-1]}, and there are {len(skeletons)}")
    chosen = used[0]
    category = options.category or _CATEGORY
    if len(used) > 1:
        names = [skeletons[place].category for place in used]
        category = choose_category(names, options.category, file)
        chosen = used[names.index(category)]
    finder = ImageFinder([options.images, file.parent])
    images = []
    for frame in project.frames:
        if not 0 <= frame.video < len(project.videos):
            raise ValueError(
                f"{file}: a frame is of video {frame.video}, and there are {len(project.videos)}"
            )
        persons = []
        for place, points in frame.instances:
            if place != chosen:
                notes.leave_out("instances of other skeletons", f"frame {frame.index}")
                continue
            if len(points) != len(skeletons[chosen].keypoints):
                raise ValueError(
                    f"{file}: an instance of frame {frame.index} has {len(points)} points, and its skeleton "
                    f"{len(skeletons[chosen].keypoints)}"
                )
            person = ImportedPerson(_keypoints(points))
            if person.is_labeled:
                persons.append(person)
            else:
                notes.leave_out("instances without a labeled point", f"frame {frame.index}")
        name, path, stated, video = _image(project, frame, file, finder)
        if path is None and stated is None:
            notes.leave_out(
                f"frames of {video}, which was not found beside {file.name} (--images names its folder), "
                "and whose size the project does not state",
                name,
            )
            continue
        size = checked_size(name, path, stated, notes)
        if size is not None:
            images.append(ImportedImage(name, path, *size, tuple(persons), None, video))
    skeleton = skeletons[chosen]
    skeleton = SourceSkeleton(category, skeleton.keypoints, skeleton.flip_pairs, skeleton.limbs)
    return ImportedDataset("sleap", skeleton, tuple(images), notes)


def _files(source: Path) -> list[Path]:
    files = [source] if source.is_file() else list(files_below(source))
    return [*(file for file in files if file.suffix == ".slp"), *json_files(source, _fits)]


def _fits(shape: JsonShape) -> bool:
    return {"skeletons", "nodes", "labels", "videos"} <= shape.keys


def _read_json_project(file: Path) -> tuple[_Project, Notes]:
    content = read_json(file)
    frames = []
    try:
        for labeled in content["labels"]:
            instances = []
            for instance in labeled["_instances"]:
                if "_points" not in instance or "score" in instance:
                    continue
                place = int(instance["skeleton"])
                points = np.full((len(content["skeletons"][place]["nodes"]), 3), np.nan)
                for node, point in instance["_points"].items():
                    points[_node_place(content, place, node)] = point["x"], point["y"], point["visible"]
                instances.append((place, points))
            if instances:
                frames.append(_Frame(int(labeled["video"]), int(labeled["frame_idx"]), instances))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{file}: its labels are not as SLEAP writes them ({type(error).__name__}: {error})"
        ) from error
    return _Project(content, _videos(content["videos"], file), frames, {}), Notes()


def _node_place(content: dict[str, Any], skeleton: int, node: str) -> int:
    """The place of a node in a skeleton by its text key, which is its place in the list of all nodes."""
    identities = [entry["id"] for entry in content["skeletons"][skeleton]["nodes"]]
    return identities.index(int(node))


def _read_hdf5(file: Path) -> tuple[_Project, Notes]:
    require_package("h5py", "import", "the import of SLEAP's .slp files")
    importlib.import_module("h5py")  # once, instead of in each process that reads
    return read_guarded(_read_tables, file)


def _read_tables(file: Path) -> tuple[_Project, Notes]:
    import h5py

    notes = Notes()
    try:
        with h5py.File(file, "r") as content:
            if "metadata" not in content or "frames" not in content:
                raise ValueError(f"{file} is no project of SLEAP: it has no metadata or no frames")
            attributes = content["metadata"].attrs
            version = float(attributes.get("format_id", 1.0))
            if version > _NEWEST:
                raise ValueError(f"{file} is of format {version:g}; at most {_NEWEST:g} is known")
            metadata = json.loads(_text(attributes["json"]))
            if not isinstance(metadata, dict):
                raise ValueError(f"{file}: its metadata must be an object, not {short(metadata)}")
            videos = _videos([json.loads(_text(row)) for row in content["videos_json"][()]], file)
            tables = {name: _table(content[name][()], name) for name in _FIELDS}
            shift = 0.0 if version >= _CENTERED else 0.5
            frames = _frames(tables, shift, notes)
            embedded = {
                place: _embedded(content, video, file)
                for place, video in enumerate(videos)
                if _dataset_name(video) in content
            }
    # h5py raises errors of many kinds at files that are broken.
    except Exception as error:
        if str(file) in str(error) and isinstance(error, ValueError):
            raise
        raise ValueError(f"{file} cannot be read as a project of SLEAP: {error}") from error
    return _Project(metadata, videos, frames, embedded), notes


def _videos(videos: Any, file: Path) -> list[dict[str, Any]]:
    if not isinstance(videos, list) or not all(isinstance(video, dict) for video in videos):
        raise ValueError(f"{file}: its videos must be a list of objects, not {short(videos)}")
    return videos


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _table(values: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """The columns of a table by their names; some programs write a matrix without names."""
    if values.dtype.names:
        return {field: values[field] for field in values.dtype.names}
    if values.ndim != 2 or (len(values) and values.shape[1] < len(_FIELDS[name])):
        raise ValueError(f"its table {name} has the shape {values.shape}")
    return {field: values[:, place] for place, field in enumerate(_FIELDS[name])}


def _frames(tables: dict[str, dict[str, np.ndarray]], shift: float, notes: Notes) -> list[_Frame]:
    points = np.column_stack([tables["points"][key].astype(float) for key in ("x", "y", "visible")])
    points[:, :2] -= shift
    instances, frames = tables["instances"], []
    for place in range(len(tables["frames"]["frame_id"])):
        row = {
            key: int(values[place]) for key, values in tables["frames"].items() if key in _FIELDS["frames"]
        }
        own = []
        for instance in range(row["instance_id_start"], row["instance_id_end"]):
            if int(instances["instance_type"][instance]) == _USER:
                start, end = (int(instances[f"point_id_{side}"][instance]) for side in ("start", "end"))
                own.append((int(instances["skeleton"][instance]), points[start:end]))
        if own:
            frames.append(_Frame(row["video"], row["frame_idx"], own))
        else:
            notes.leave_out(
                "frames that nobody labeled (predictions alone, or nothing)", f"frame {row['frame_idx']}"
            )
    return frames


def _dataset_name(video: dict[str, Any]) -> str:
    """Where the images of a video are within the file."""
    backend = video.get("backend")
    name = backend.get("dataset") if isinstance(backend, dict) else None
    return name if isinstance(name, str) and name else "no dataset"


def _embedded(content: Any, video: dict[str, Any], file: Path) -> dict[int, EmbeddedImage]:
    """The images of a video that are in the file, by the numbers of their frames."""
    name = _dataset_name(video)
    data = content[name]
    kind = _text(data.attrs.get("format", "hdf5"))
    group = name.rpartition("/")[0]
    numbers = (
        content[f"{group}/frame_numbers"][()] if f"{group}/frame_numbers" in content else range(len(data))
    )
    images = {}
    for row, frame in zip(data, numbers, strict=False):
        if kind == "hdf5":
            pixels_bgr = np.asarray(row)[..., ::-1] if np.asarray(row).shape[-1] == 3 else np.asarray(row)
            good, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels_bgr))
            if not good:
                raise ValueError(f"{file}: frame {frame} of {name} is no image")
            images[int(frame)] = EmbeddedImage(encoded.tobytes())
        else:
            # Rows are padded with zeros, which decoders of PNG and JPEG ignore.
            images[int(frame)] = EmbeddedImage(np.asarray(row).astype(np.uint8).tobytes())
    return images


def _skeletons(metadata: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    skeletons = metadata.get("skeletons")
    if not isinstance(skeletons, list) or not skeletons:
        raise ValueError(f"{file} has no skeletons, but {short(skeletons)}")
    return skeletons


def _skeleton(metadata: dict[str, Any], place: int, file: Path) -> SourceSkeleton:
    """A skeleton: nodes in its own order, limbs and symmetric pairs by the type of its links."""
    skeleton = _skeletons(metadata, file)[place]
    try:
        names = {number: str(node["name"]) for number, node in enumerate(metadata["nodes"])}
        keypoints = tuple(names[int(node["id"])] for node in skeleton["nodes"])
        limbs, pairs, kinds = [], [], []
        for link in skeleton.get("links", []):
            kind = link["type"]
            if "py/reduce" in kind:
                number = int(next(part["py/tuple"][0] for part in kind["py/reduce"] if "py/tuple" in part))
                kinds.append(number)
            else:
                number = kinds[int(kind["py/id"]) - 1]
            ends = names[int(link["source"])], names[int(link["target"])]
            if number == 1:
                limbs.append(ends)
            elif ends[::-1] not in pairs and ends not in pairs:
                pairs.append(ends)
        name = str(skeleton.get("graph", {}).get("name", f"skeleton {place}"))
    except (KeyError, TypeError, IndexError, ValueError, StopIteration, AttributeError) as error:
        raise ValueError(
            f"{file}: skeleton {place} is not as SLEAP writes it ({type(error).__name__}: {error})"
        ) from error
    if not keypoints or len(set(keypoints)) < len(keypoints):
        raise ValueError(
            f"{file}: skeleton {place} must have nodes of different names, not {list(keypoints)}"
        )
    return SourceSkeleton(name, keypoints, tuple(pairs) or None, tuple(limbs))


def _keypoints(points: np.ndarray) -> np.ndarray:
    """(K, 3) of x, y, visible."""
    labeled = np.isfinite(points[:, :2]).all(axis=1) & (np.nan_to_num(points[:, 2]) > 0)
    return np.where(labeled[:, None], np.column_stack([points[:, :2], np.full(len(points), 2.0)]), 0.0)


def _image(
    project: _Project, frame: _Frame, file: Path, finder: ImageFinder
) -> tuple[str, ImageSource, tuple[int, int] | None, str]:
    """Name, source, stated size and video of a frame."""
    video = project.videos[frame.video]
    backend = video.get("backend")
    backend = backend if isinstance(backend, dict) else {}
    size = _stated_size(backend, file)
    stem = file.name.removesuffix(".slp").removesuffix(".pkg").removesuffix(".json")
    if frame.video in project.embedded:
        several = len(project.embedded) > 1
        folder = f"{stem}/video{frame.video}" if several else stem
        source: ImageSource = project.embedded[frame.video].get(frame.index)
        return f"{folder}/{frame.index:06d}.png", source, size, folder
    files = backend.get("filenames")
    if isinstance(files, list) and files:
        if not 0 <= frame.index < len(files):
            raise ValueError(f"{file}: frame {frame.index} of a list of {len(files)} images")
        given = str(files[frame.index])
        path = finder.find(given) or finder.find("/".join(clean_parts(given)[-2:]))
        name = "/".join(clean_parts(given)[-2:])
        return name, path, size, "/".join(clean_parts(str(files[0]))[-2:-1]) or stem
    given = str(backend.get("filename") or video.get("filename") or "")
    parts = clean_parts(given) or ["video"]
    path = finder.find(given)
    name = Path(parts[-1]).stem
    # Videos of one name in several folders stay apart.
    same = [entry for entry in project.videos if Path(_last_part(entry)).stem == name]
    folder = name if len(same) == 1 else f"{frame.video}_{name}"
    return f"{folder}/{frame.index:06d}.png", VideoFrame(path, frame.index) if path else None, size, folder


def _last_part(video: dict[str, Any]) -> str:
    backend = video.get("backend")
    given = backend.get("filename") if isinstance(backend, dict) else video.get("filename")
    return (clean_parts(str(given or "")) or [""])[-1]


def _stated_size(backend: dict[str, Any], file: Path) -> tuple[int, int] | None:
    """Width and height of a video's frames as the project states them."""
    width, height = backend.get("width_"), backend.get("height_")
    shape = backend.get("shape")
    if (width is None or height is None) and isinstance(shape, list) and len(shape) == 4:
        height, width = shape[1:3]
    if width is None or height is None:
        return None
    return pixels(width, f"{file}: the width of a video"), pixels(height, f"{file}: the height of a video")
