"""Datasets by name: the built-in ones (posecore.data.built_in), and any that a definition file describes.

A dataset is a name in Detectron2's catalogs whose metadata has json_file, image_root, skeleton and
evaluator_type, which says how the file is read (:data:`READERS`) and how poses are scored.
A definition is a YAML file with four keys, or up to six::

    name: dogs_train
    annotations: annotations/train.json    # COCO's keypoint format
    images: images                         # the folder of the file names in the annotations
    skeleton: dog.yaml                     # or the name of a shipped skeleton
    format: coco                           # that unless said otherwise: a key of READERS
    ground_truth: mpii_gt_val.mat          # for format mpii alone: what PCKh is measured with

Relative paths start at the definition's folder; $VARIABLES of the environment and ~ are expanded.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from string import Template

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from posecore.data.built_in import BUILT_IN
from posecore.data.formats.coco import dataset_dicts, read_coco
from posecore.data.formats.coco_wholebody import read_wholebody
from posecore.data.formats.crowdpose import read_crowdpose
from posecore.data.formats.mpii import read_mpii
from posecore.structures.skeleton import Skeleton, load_skeleton

# What turns an annotation file into COCO's structure, by the format's name.
READERS: dict[str, Callable[[Metadata, Skeleton], dict]] = {
    "coco": lambda metadata, skeleton: read_coco(metadata.json_file, skeleton),
    "crowdpose": lambda metadata, skeleton: read_crowdpose(metadata.json_file, skeleton),
    "coco_wholebody": lambda metadata, skeleton: read_wholebody(metadata.json_file, skeleton),
    "mpii": lambda metadata, skeleton: read_mpii(metadata.json_file, metadata.image_root, skeleton),
}


def register(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    skeleton: Skeleton,
    *,
    format: str = "coco",
    ground_truth: str | Path | None = None,
) -> None:
    """Makes a dataset known by its name; one that had this name before is replaced.

    Args:
        name: for DATASETS.TRAIN and TEST.
        json_file: the annotations.
        image_root: the folder of the images.
        skeleton: of the annotations.
        format: how the annotations are read and poses are scored; a key of :data:`READERS`.
        ground_truth: of MPII's evaluation (mpii_gt_val.mat); without it MPII poses are not scored.

    Raises:
        ValueError: unknown format, or a ground truth for another than MPII's.
    """
    if format not in READERS:
        raise ValueError(f"dataset '{name}': format must be one of {sorted(READERS)}, not '{format}'")
    if ground_truth is not None and format != "mpii":
        raise ValueError(f"dataset '{name}': format '{format}' has no ground_truth; only mpii has")
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.pop(name, None)
    DatasetCatalog.register(name, lambda: load_dataset(name, skeleton))
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        image_root=str(image_root),
        skeleton=skeleton,
        thing_classes=["person"],
        evaluator_type=format,
        ground_truth=str(ground_truth) if ground_truth is not None else None,
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
            name = definition["name"]
            if name in names or name in _RESERVED:
                raise ValueError(f"another dataset is called '{name}'")
            register(**definition)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: {error}") from error
        except (yaml.YAMLError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        names.append(name)
    return names


def resolve_dataset(name_or_definition: str) -> str:
    """The name of a dataset that is given by its name, or by the path of its definition (.yaml).

    Raises:
        FileNotFoundError, ValueError: the definition is missing or wrong; the message names it.
    """
    if Path(name_or_definition).suffix in (".yaml", ".yml"):
        (name,) = register_definitions([name_or_definition])
        return name
    return name_or_definition


def _parse_definition(text: str, folder: Path) -> dict:
    """The arguments of :func:`register`."""
    content = yaml.safe_load(text)
    keys, more = {"name", "annotations", "images", "skeleton"}, {"format", "ground_truth"}
    if not isinstance(content, dict) or content.keys() - more != keys:
        raise ValueError(
            f"a dataset definition has the keys {sorted(keys)}, no fewer, and may have {sorted(more)}, "
            "no others"
        )
    if wrong := [key for key, value in content.items() if not isinstance(value, str) or not value]:
        raise ValueError(f"{', '.join(wrong)} must be text")
    skeleton = _expand(content["skeleton"])
    if Path(skeleton).suffix in (".yaml", ".yml"):
        skeleton = str(folder / skeleton)
    definition = {
        "name": content["name"],
        "json_file": folder / _expand(content["annotations"]),
        "image_root": folder / _expand(content["images"]),
        "skeleton": load_skeleton(skeleton),
        "format": content.get("format", "coco"),
    }
    if "ground_truth" in content:
        definition["ground_truth"] = folder / _expand(content["ground_truth"])
    return definition


def _expand(path: str) -> str:
    try:
        return os.path.expanduser(Template(path).substitute(os.environ))
    except KeyError as error:
        raise ValueError(
            f"'{path}' needs the environment variable {error.args[0]}, which is not set"
        ) from error


def load_dataset(name: str, skeleton: Skeleton) -> list[dict]:
    """The images of a dataset as Detectron2's dicts (:func:`posecore.data.formats.coco.dataset_dicts`).

    Arguments and errors are those of :func:`read_dataset`.
    """
    return dataset_dicts(read_dataset(name, skeleton), dataset_metadata(name).image_root)


def read_dataset(name: str, skeleton: Skeleton) -> dict:
    """The annotations of a dataset in COCO's structure (:func:`posecore.data.formats.coco.read_coco`).

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
    kind = metadata.get("evaluator_type", "coco")
    if kind not in READERS:
        raise ValueError(f"dataset '{name}' has evaluator_type '{kind}'; it can be one of {sorted(READERS)}")
    return READERS[kind](metadata, skeleton)


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


def _register_built_in() -> None:
    root = Path(os.getenv("DETECTRON2_DATASETS", "datasets")).expanduser()
    for name, dataset in BUILT_IN.items():
        register(
            name,
            root / dataset.annotations,
            root / dataset.images,
            load_skeleton(dataset.skeleton),
            format=dataset.format,
            ground_truth=root / dataset.ground_truth if dataset.ground_truth else None,
        )
    coco = load_skeleton("coco_17")
    for name in DatasetCatalog.list():
        if name.startswith("keypoints_coco_"):
            MetadataCatalog.get(name).skeleton = coco


_register_built_in()
_RESERVED = frozenset(DatasetCatalog.list())
