"""Datasets by name: COCO's keypoint splits, and any that a definition file describes.

A dataset is a name in Detectron2's catalogues whose metadata has json_file, image_root and skeleton.
A definition is a YAML file with four keys::

    name: dogs_train
    annotations: annotations/train.json    # COCO's keypoint format
    images: images                         # the folder of the file names in the annotations
    skeleton: dog.yaml                     # or the name of a shipped skeleton

Relative paths start at the definition's folder; $VARIABLES of the environment and ~ are expanded.
"""

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from string import Template

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from posecore.data.coco_json import dataset_dicts, read_coco
from posecore.keypoints import Skeleton, load_skeleton

# Detectron2 registers the keypoint splits that have annotations; it has no test splits for keypoints.
_TEST_SPLITS = {
    "keypoints_coco_2017_test": ("coco/test2017", "coco/annotations/image_info_test2017.json"),
    "keypoints_coco_2017_test-dev": ("coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
}


def register(name: str, json_file: str | Path, image_root: str | Path, skeleton: Skeleton) -> None:
    """Makes a dataset known by its name; one that had this name before is replaced."""
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.pop(name, None)
    DatasetCatalog.register(name, lambda: load_dataset(name, skeleton))
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        image_root=str(image_root),
        skeleton=skeleton,
        thing_classes=["person"],
        evaluator_type="coco",
    )


def register_definitions(paths: Iterable[str | Path]) -> list[str]:
    """Registers the datasets of definition files and returns their names.

    Raises:
        FileNotFoundError, ValueError: a definition is missing or wrong; the message names it.
    """
    names: list[str] = []
    for path in map(Path, paths):
        if not path.is_file():
            raise FileNotFoundError(f"DATASETS.DEFINITIONS: {path} does not exist")
        try:
            definition = _parse_definition(path.read_text(encoding="utf-8"), path.parent)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: {error}") from error
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        name = definition["name"]
        if name in names or name in _BUILT_IN:
            raise ValueError(f"{path}: another dataset is called '{name}'")
        register(**definition)
        names.append(name)
    return names


def _parse_definition(text: str, folder: Path) -> dict:
    """The arguments of :func:`register`."""
    content = yaml.safe_load(text)
    keys = {"name", "annotations", "images", "skeleton"}
    if not isinstance(content, dict) or content.keys() != keys:
        raise ValueError(f"a dataset definition has the keys {sorted(keys)}, no fewer and no others")
    if wrong := [key for key, value in content.items() if not isinstance(value, str) or not value]:
        raise ValueError(f"{', '.join(wrong)} must be text")
    skeleton = _expand(content["skeleton"])
    if Path(skeleton).suffix in (".yaml", ".yml"):
        skeleton = str(folder / skeleton)
    return {
        "name": content["name"],
        "json_file": folder / _expand(content["annotations"]),
        "image_root": folder / _expand(content["images"]),
        "skeleton": load_skeleton(skeleton),
    }


def _expand(path: str) -> str:
    try:
        return os.path.expanduser(Template(path).substitute(os.environ))
    except KeyError as error:
        raise ValueError(
            f"'{path}' needs the environment variable {error.args[0]}, which is not set"
        ) from error


def load_dataset(name: str, skeleton: Skeleton) -> list[dict]:
    """The pictures of a dataset as Detectron2's dicts (:func:`posecore.data.coco_json.dataset_dicts`).

    Args:
        name: a registered dataset.
        skeleton: that of DATASETS.SKELETON, which the dataset's own must equal.

    Raises:
        FileNotFoundError, ValueError: no such dataset, another skeleton, or annotations that are wrong.
    """
    metadata = dataset_metadata(name)
    if metadata.skeleton != skeleton:
        raise ValueError(
            f"dataset '{name}' has skeleton '{metadata.skeleton.name}', but DATASETS.SKELETON is "
            f"'{skeleton.name}'{_difference(metadata.skeleton, skeleton)}; they must be the same"
        )
    return dataset_dicts(read_coco(metadata.json_file, skeleton), metadata.image_root)


def dataset_metadata(name: str) -> Metadata:
    """Detectron2's metadata of a dataset that has a skeleton.

    Raises:
        ValueError: nobody registered the dataset, or not as one of poses.
    """
    if name not in DatasetCatalog:
        raise ValueError(
            f"dataset '{name}' is not known; list its definition in DATASETS.DEFINITIONS. Known: {_posed()}"
        )
    metadata = MetadataCatalog.get(name)
    if "skeleton" not in metadata.as_dict():
        raise ValueError(
            f"dataset '{name}' has no skeleton: set MetadataCatalog.get('{name}').skeleton. Known: {_posed()}"
        )
    return metadata


def _posed() -> list[str]:
    return [name for name in DatasetCatalog.list() if "skeleton" in MetadataCatalog.get(name).as_dict()]


def _difference(theirs: Skeleton, ours: Skeleton) -> str:
    """Which parts differ, where the names do not already say it."""
    if theirs.name != ours.name:
        return ""
    parts = [item.name for item in fields(Skeleton) if getattr(theirs, item.name) != getattr(ours, item.name)]
    return f" (with other {', '.join(parts)})"


def _register_coco() -> None:
    coco = load_skeleton("coco_17")
    root = Path(os.getenv("DETECTRON2_DATASETS", "datasets")).expanduser()
    for name, (images, annotations) in _TEST_SPLITS.items():
        register(name, root / annotations, root / images, coco)
    for name in DatasetCatalog.list():
        if name.startswith("keypoints_coco_"):
            MetadataCatalog.get(name).skeleton = coco


_register_coco()
_BUILT_IN = frozenset(DatasetCatalog.list())
