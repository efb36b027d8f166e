"""Writes datasets of this project in the formats of other tools: the table :data:`EXPORTERS`."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from posecore.config.errors import UsageError
from posecore.data.datasets import dataset_metadata, read_dataset, register_definitions
from posecore.data.importers.files import read_yaml
from posecore.data.importers.images import clean_parts
from posecore.data.importers.writer import check_free, dump_json, made_whole, place_image
from posecore.structures.skeleton import Skeleton

_DEFINITION_KEYS = {"name", "annotations", "images", "skeleton"}


@dataclass(frozen=True)
class _Split:
    """A dataset to export: its name in the export, its content in COCO's structure, its images' folder."""

    name: str
    content: dict[str, Any]
    image_root: Path

    def persons(self) -> dict[Any, list[dict[str, Any]]]:
        """Image id -> its annotations."""
        persons: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in self.content["annotations"]:
            persons[annotation["image_id"]].append(annotation)
        return persons

    def image_file(self, image: dict[str, Any]) -> Path:
        """The file of an image."""
        file = self.image_root / image["file_name"]
        return file if file.is_file() else self.image_root / image["file_name"].replace("\\", "/")


def export_yolo(source: Path, folder: Path, *, copy: bool = False) -> list[str]:
    """Writes data.yaml, images and label files as Ultralytics' pose models read them.

    Args:
        source: a definition, or a folder of definitions, one for each split.
        folder: gets the files; new or empty.
        copy: whether images are copied instead of linked.

    Returns:
        What was written and what was left out, a sentence each.

    Raises:
        UsageError, OSError, ValueError: the source is no dataset, an image is missing, or the folder is not
            empty.
    """
    _check_folder(source, folder)
    splits, skeleton, category = _read(source)
    left_out: dict[str, int] = defaultdict(int)
    lines = []
    with made_whole(folder) as made:
        for split in splits:
            persons, places = split.persons(), _places(split, without="images")
            for image in split.content["images"]:
                parts = places[image["id"]]
                place_image(split.image_file(image), made.joinpath("images", split.name, *parts), copy)
                rows = [row for item in persons[image["id"]] if (row := _row(item, image, left_out))]
                file = made.joinpath("labels", split.name, *parts).with_suffix(".txt")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
            lines.append(
                f"written: {folder / 'images' / split.name}, {len(split.content['images'])} images with "
                "labels"
            )
        names = [split.name for split in splits]
        description: dict[str, Any] = {"path": "."}
        description |= {name: f"images/{name}" for name in names}
        for needed in ("train", "val"):
            if needed not in names:
                description[needed] = f"images/{names[0]}"
                lines.append(
                    f"note: there is no {needed} split, and Ultralytics needs one: {names[0]} stands for it"
                )
        description |= {
            "kpt_shape": [skeleton.num_keypoints, 3],
            "flip_idx": list(skeleton.flip_indices),
            "names": {0: category},
            "kpt_names": {0: list(skeleton.keypoints)},
            "kpt_oks_sigmas": list(skeleton.sigmas),
        }
        text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True, default_flow_style=None)
        (made / "data.yaml").write_text(text, encoding="utf-8")
    lines += [f"left out: {count} {reason}" for reason, count in left_out.items()]
    return [*lines, f"written: {folder / 'data.yaml'}"]


def export_coco(source: Path, folder: Path, *, copy: bool = False) -> list[str]:
    """Writes ``annotations/person_keypoints_<split>.json`` and ``images/<split>/``, as CVAT reads them.

    Arguments, result and errors are those of :func:`export_yolo`.
    """
    _check_folder(source, folder)
    splits, skeleton, category = _read(source)
    lines = []
    with made_whole(folder) as made:
        (made / "annotations").mkdir()
        for split in splits:
            images, places = [], _places(split)
            for image in split.content["images"]:
                parts = places[image["id"]]
                place_image(split.image_file(image), made.joinpath("images", split.name, *parts), copy)
                images.append({**image, "file_name": "/".join(parts)})
            (own,) = split.content["categories"]
            limbs = [[a + 1, b + 1] for a, b in skeleton.limb_indices]
            categories = [{**own, "name": category, "keypoints": list(skeleton.keypoints), "skeleton": limbs}]
            name = f"person_keypoints_{split.name}.json"
            content = {
                "images": images,
                "categories": categories,
                "annotations": split.content["annotations"],
            }
            dump_json(made / "annotations" / name, content)
            lines.append(f"written: {folder / 'annotations' / name}, {len(images)} images")
    return lines


# By the name that --to gives.
EXPORTERS: dict[str, Callable[..., list[str]]] = {"yolo": export_yolo, "coco": export_coco}


def _check_folder(source: Path, folder: Path) -> None:
    """
    Raises:
        UsageError: the folder holds something, or lies in the dataset.
    """
    check_free(folder, overwrite=False)
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"--output {folder} lies in the dataset {source}: give a folder outside of it")


def _places(split: _Split, without: str = "") -> dict[Any, list[str]]:
    """Where each image goes, by its id: the parts of its name, and its id before them where that is taken.

    Two images with names that differ in their endings alone are put apart too, because Ultralytics' labels
    have the name of the image without its ending.

    Args:
        split: its images.
        without: the name of folders that are left out; Ultralytics turns the last folder "images" of a path
            into "labels".
    """
    taken: set[str] = set()
    places: dict[Any, list[str]] = {}
    for image in split.content["images"]:
        parts = [part for part in clean_parts(image["file_name"]) if part != without]
        number = 0
        while not parts or (stem := str(Path(*parts).with_suffix("")).lower()) in taken:
            number += 1
            parts = ["_".join([*clean_parts(str(image["id"])), *(["x"] * (number - 1))]) or "x", *parts]
        taken.add(stem)
        places[image["id"]] = parts
    return places


def _read(source: Path) -> tuple[list[_Split], Skeleton, str]:
    """The splits of a definition or a folder of them, their skeleton and their category."""
    files = (
        [file for file in sorted(source.glob("*.yaml")) if file.is_file()] if source.is_dir() else [source]
    )
    definitions = [file for file in files if not source.is_dir() or _is_definition(file)]
    if not definitions:
        raise UsageError(
            f"{source} has no definition of a dataset, a YAML file with name, annotations, images, skeleton"
        )
    splits, skeletons, categories = [], [], []
    for file, name in zip(definitions, register_definitions(definitions), strict=True):
        metadata = dataset_metadata(name)
        content = read_dataset(name, metadata.skeleton)
        if "annotations" not in content:
            raise UsageError(f"{file} has no annotations to export")
        split = _Split(file.stem, content, Path(metadata.image_root))
        missing = [image["file_name"] for image in content["images"] if not split.image_file(image).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{file}: {len(missing)} images do not exist, the first of them is {missing[0]}"
            )
        splits.append(split)
        skeletons.append(metadata.skeleton)
        categories.append(content["categories"][0].get("name") or "person")
    if any(skeleton != skeletons[0] for skeleton in skeletons):
        raise UsageError(f"{source}: its definitions have different skeletons; export them one by one")
    order = {"train": 0, "val": 1, "test": 2}
    splits.sort(key=lambda split: order.get(split.name, len(order)))
    return splits, skeletons[0], categories[0]


def _is_definition(file: Path) -> bool:
    """Whether a YAML file is a definition; a broken one may be that of a split, and is an error."""
    return read_yaml(file).keys() >= _DEFINITION_KEYS


def _row(item: dict[str, Any], image: dict[str, Any], left_out: dict[str, int]) -> str | None:
    """The row of a person; None for a crowd, which the format has not, and for a box outside the image."""
    if item["iscrowd"]:
        left_out["crowds, which the format does not have"] += 1
        return None
    width, height = image["width"], image["height"]
    x0, y0 = max(item["bbox"][0], 0), max(item["bbox"][1], 0)
    x1, y1 = min(item["bbox"][0] + item["bbox"][2], width), min(item["bbox"][1] + item["bbox"][3], height)
    if x1 < x0 or y1 < y0:
        left_out["persons whose box is outside of their image"] += 1
        return None
    values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    row = ["0", *(f"{value:.6f}" for value in values)]
    keypoints = item["keypoints"]
    for x, y, visible in zip(keypoints[::3], keypoints[1::3], keypoints[2::3], strict=True):
        if visible > 0 and not (0 <= x <= width and 0 <= y <= height):
            left_out["keypoints outside of their image, which Ultralytics refuses"] += 1
            visible = 0
        share = (x / width, y / height) if visible > 0 else (0.0, 0.0)
        row += [f"{share[0]:.6f}", f"{share[1]:.6f}", f"{int(visible)}"]
    return " ".join(row)
