"""Datasets by name: the built-in ones (:mod:`posecore.data.built_in`), and those of definition files.

A dataset is a name in Detectron2's catalogs. Its metadata has json_file, image_root, skeleton and
evaluator_type, a key of :data:`posecore.data.formats.FORMATS`: how its file is read and how poses on it are
evaluated. A definition is a YAML file with four keys, or up to six::

    name: dogs_train
    annotations: annotations/train.json    # COCO's keypoint format
    images: images                         # the folder of the file names in the annotations
    skeleton: dog.yaml                     # or the name of a shipped skeleton
    format: coco                           # optional, a key of FORMATS
    ground_truth: mpii_gt_val.mat          # optional, for format mpii: the file that PCKh is measured with

Relative paths start at the definition's folder; $VARIABLES of the environment and ~ are expanded.
"""

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from string import Template

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from posecore.config.yaml_text import load_yaml
from posecore.data.built_in import BUILT_IN
from posecore.data.formats import FORMATS, Format
from posecore.data.formats.coco import dataset_dicts
from posecore.structures.skeleton import Skeleton, load_skeleton


def register(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    skeleton: Skeleton,
    *,
    format: str = "coco",
    ground_truth: str | Path | None = None,
) -> None:
    """Registers a dataset under its name; one that had this name before is replaced.

    Args:
        name: for DATASETS.TRAIN and TEST.
        json_file: the annotations.
        image_root: the folder of the images.
        skeleton: of the annotations.
        format: a key of :data:`posecore.data.formats.FORMATS`.
        ground_truth: the file that MPII's evaluation reads (mpii_gt_val.mat); without it, poses on an MPII
            dataset are written but not evaluated.

    Raises:
        ValueError: the format is unknown, or it has no ground-truth file and one is given.
    """
    if format not in FORMATS:
        raise ValueError(f"dataset '{name}': format must be one of {_names(FORMATS)}, not '{format}'")
    if ground_truth is not None and not FORMATS[format].has_ground_truth_file:
        takers = [key for key, known in FORMATS.items() if known.has_ground_truth_file]
        raise ValueError(
            f"dataset '{name}': format '{format}' has no ground_truth; only {_names(takers)} has"
        )
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
                raise ValueError(
                    f"another dataset is called '{name}': change `name` in one of the definitions"
                )
            register(**definition)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{path}: {error}") from error
        except ValueError as error:
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


def resolve_datasets(names_or_definitions: Iterable[str]) -> list[str]:
    """The names of several datasets, as :func:`resolve_dataset` has them; one may be given twice.

    Raises:
        FileNotFoundError, ValueError: as there, or two different definitions have one name.
    """
    names: list[str] = []
    given: dict[str, str] = {}
    for item in names_or_definitions:
        name = resolve_dataset(item)
        other = given.setdefault(name, item)
        if item != other and Path(item).resolve() != Path(other).resolve():
            raise ValueError(f"{item} and {other} have the same name, '{name}': change `name` in one of them")
        names.append(name)
    return names


def is_built_in(name: str) -> bool:
    """Whether a name is that of a built-in dataset, which no definition can have."""
    return name in _RESERVED


def _parse_definition(text: str, folder: Path) -> dict:
    """The arguments of :func:`register`."""
    content = load_yaml(text)
    keys, more = {"name", "annotations", "images", "skeleton"}, {"format", "ground_truth"}
    if not isinstance(content, dict) or content.keys() - more != keys:
        raise ValueError(
            f"a dataset definition must have the keys {sorted(keys)}, may have {sorted(more)}, "
            "and has no others"
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

    The arguments and errors are those of :func:`read_dataset`.
    """
    content, metadata = read_dataset(name, skeleton), dataset_metadata(name)
    try:
        return dataset_dicts(content, metadata.image_root)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{metadata.json_file}: {error}") from error


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
    return dataset_format(name).read(metadata, skeleton)


def read_annotated(name: str) -> dict:
    """The annotations of a registered dataset, as :func:`read_dataset` returns them.

    Raises:
        ValueError: it has none, or they are wrong.
        FileNotFoundError: its file does not exist.
    """
    metadata = dataset_metadata(name)
    content = read_dataset(name, metadata.skeleton)
    if "annotations" not in content:
        raise ValueError(
            f"dataset '{name}' has no annotations to check or to compare poses with: {metadata.json_file} "
            "lists images alone"
        )
    return content


def dataset_format(name: str) -> Format:
    """The format of a registered dataset, by the evaluator_type of its metadata; COCO's where it has none.

    Raises:
        ValueError: no such dataset, or an evaluator_type that is no key of :data:`FORMATS`.
    """
    key = dataset_metadata(name).get("evaluator_type", "coco")
    if key not in FORMATS:
        raise ValueError(f"dataset '{name}': evaluator_type must be one of {_names(FORMATS)}, not '{key}'")
    return FORMATS[key]


def dataset_metadata(name: str) -> Metadata:
    """Detectron2's metadata of a dataset that has a skeleton.

    Raises:
        ValueError: the dataset is not registered, or it has no skeleton.
    """
    if name not in DatasetCatalog:
        raise ValueError(
            f"dataset '{name}' is not known; list its definition in DATASETS.DEFINITIONS. Known: "
            f"{_names(_pose_datasets())}"
        )
    metadata = MetadataCatalog.get(name)
    if "skeleton" not in metadata.as_dict():
        raise ValueError(
            f"dataset '{name}' has no skeleton: set MetadataCatalog.get('{name}').skeleton. Known: "
            f"{_names(_pose_datasets())}"
        )
    return metadata


def _pose_datasets() -> list[str]:
    return [name for name in DatasetCatalog.list() if "skeleton" in MetadataCatalog.get(name).as_dict()]


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _difference(theirs: Skeleton, ours: Skeleton) -> str:
    """The parts in which two skeletons of the same name differ, for the message."""
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
