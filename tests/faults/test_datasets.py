"""Faulty annotation files: each is refused by name before anything is built, or is read and scored as meant.

A file goes the way of a dataset: tools/check_dataset.py, the loader of a training, and the evaluation of
the ground truth as its own prediction with both libraries of TEST.COCO_BACKEND.
"""

import contextlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances
from helpers.configs import override_list

from posecore.config import get_cfg
from posecore.data import build_test_loader, build_train_loader, load_dataset, register_definitions
from posecore.evaluation import build_evaluator
from posecore.structures.skeleton import load_skeleton


@dataclass(frozen=True)
class Read:
    """A file that is read.

    Attributes:
        says: pattern of a warning, which tools/check_dataset.py shows; "" for none in particular.
        ap: of the ground truth as its own prediction.
    """

    says: str = ""
    ap: float = 100.0


@dataclass(frozen=True)
class Refused:
    """A file that is refused everywhere; the message names it and fits the pattern."""

    message: str


NO_AREA = Read(r"area\.json|4 of 4 annotations have no valid area .*0\.53 of the box")
NO_SEGMENTATION = Read(r"4 of 4 annotations have a segmentation that is no valid one")
DATASETS: dict[str, Read | Refused] = {
    # Areas: what is no finite number above 0 is missing, and is said.
    "area_bool": NO_AREA,
    "area_list": NO_AREA,
    "area_nan": NO_AREA,
    "area_negative": NO_AREA,
    "area_string": NO_AREA,
    "area_zero": NO_AREA,
    "area_one": Read(r"warning: 4 of 4 .*\barea"),
    "cvat_k1": Refused(r"annotation 1: .*\barea\b.*\bbbox\b"),
    # Segmentations, where the area is missing.
    "polygon_2": NO_SEGMENTATION,
    "polygon_4_only": NO_SEGMENTATION,
    "polygon_empty": NO_AREA,
    "polygon_flat": NO_SEGMENTATION,
    "segmentation_dict_empty": NO_SEGMENTATION,
    "segmentation_rle_bad": NO_SEGMENTATION,
    "segmentation_rle_other_size": NO_SEGMENTATION,
    "segmentation_text": NO_SEGMENTATION,
    # Ids.
    "bool_image_ids": Refused(r"image at index 0: id must be .*not True"),
    "float_image_ids": Read(),
    "list_image_ids": Refused(r"image at index 0: id must be .*not \[1\]"),
    "negative_image_ids": Read(),
    "string_image_ids": Read(),
    "category_7": Read(),
    "category_string_id": Read(),
    # Entries and lists.
    "annotation_text": Refused(r"annotation at index 4 must be an object .*not 'x'"),
    "annotations_dict": Refused(r"'annotations' must be a list"),
    "categories_dict": Refused(r"'categories' must be a list"),
    "category_null_entry": Refused(r"category at index 1 must be an object .*not None"),
    "images_empty": Refused(r"'images' is empty"),
    "images_null_entry": Refused(r"image at index 2 must be an object .*not None"),
    # Values.
    "backslash_names": Read(),
    "enormous_x": Refused(r"annotation 1: keypoints must be .*1e\+300"),
    "iscrowd_string": Refused(r"annotation 1: iscrowd must be .*not '0'"),
}


def dataset_cfg(folder: Path, *overrides: object) -> CfgNode:
    """The configuration of a small training with the dataset of a folder."""
    skeleton = yaml.safe_load((folder / "data.yaml").read_text())["skeleton"]
    own = folder / skeleton
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *override_list(
                {
                    "DATASETS.DEFINITIONS": (str(folder / "data.yaml"),),
                    "DATASETS.TRAIN": (folder.name,),
                    "DATASETS.TEST": (folder.name,),
                    "DATASETS.SKELETON": str(own) if own.is_file() else skeleton,
                    "DATALOADER.NUM_WORKERS": 0,
                    "SOLVER.IMS_PER_BATCH": 2,
                    "TEST.NUM_PREVIEWS": 0,
                    "INPUT.MIN_SIZE_TRAIN": (96,),
                    "INPUT.MIN_SIZE_TEST": 96,
                }
            ),
            *overrides,
        ]
    )
    return cfg


def check_training(cfg: CfgNode) -> None:
    """Loads some batches, whose persons must have finite keypoints and boxes of some size."""
    for batch in islice(build_train_loader(cfg), 3):
        for sample in batch:
            people = sample["instances"]
            assert len(people)
            assert people.gt_keypoints.tensor.isfinite().all()
            assert people.gt_boxes.nonempty().all()


def own_prediction(record: dict, skeleton_size: int) -> Instances:
    """The persons of a record that are no crowds, as a model would find them."""
    people = [person for person in record["annotations"] if not person["iscrowd"]]
    found = Instances((record["height"], record["width"]))
    points = torch.tensor([person["keypoints"] for person in people]).reshape(-1, skeleton_size, 3)
    found.pred_keypoints = torch.cat([points[..., :2], torch.ones_like(points[..., :1])], dim=2)
    boxes = torch.tensor([person["bbox"] for person in people], dtype=torch.float32).reshape(-1, 4)
    found.pred_boxes = Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1))
    found.scores = torch.ones(len(people))
    found.pred_classes = torch.zeros(len(people), dtype=torch.int64)
    return found


def own_metrics(cfg: CfgNode) -> dict[str, float]:
    """The metrics of the ground truth as its own prediction."""
    (name,) = cfg.DATASETS.TEST
    register_definitions(cfg.DATASETS.DEFINITIONS)
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    records = {record["file_name"]: record for record in load_dataset(name, skeleton)}
    for batch in build_test_loader(cfg, name):
        for sample in batch:
            instances = own_prediction(records[sample["file_name"]], skeleton.num_keypoints)
            evaluator.process([sample], [{"instances": instances}])
    return evaluator.evaluate()["keypoints"]


@pytest.mark.parametrize("name", DATASETS)
def test_the_doctor(faults: Path, run: Callable, name: str) -> None:
    expected = DATASETS[name]
    done = run("check_dataset", faults / name / "data.yaml")
    if isinstance(expected, Read):
        assert done.status == 0, done.said
        assert re.search(expected.says, done.said), done.said
        assert "AP of the ground truth as its own prediction: 100.0 %" in done.said
    else:
        assert done.status == 1
        assert re.search(rf"error: .*{name}/ann\.json: {expected.message}", done.said), done.said


@pytest.mark.parametrize("name", DATASETS)
def test_a_training(faults: Path, name: str) -> None:
    expected = DATASETS[name]
    refused = isinstance(expected, Refused)
    message = rf"{name}/ann\.json: {expected.message}" if isinstance(expected, Refused) else ""
    with pytest.raises(ValueError, match=message) if refused else contextlib.nullcontext():
        check_training(dataset_cfg(faults / name))


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("name", DATASETS)
def test_the_ground_truth_as_its_own_prediction(
    faults: Path, tmp_path: Path, name: str, backend: str
) -> None:
    expected = DATASETS[name]
    cfg = dataset_cfg(faults / name, "TEST.COCO_BACKEND", backend, "OUTPUT_DIR", str(tmp_path))
    if isinstance(expected, Refused):
        with pytest.raises(ValueError, match=rf"{name}/ann\.json: {expected.message}"):
            own_metrics(cfg)
        return
    assert own_metrics(cfg)["AP"] == pytest.approx(expected.ap)
    written = json.loads((tmp_path / f"inference/{name}/coco_instances_results.json").read_text())
    images = json.loads((faults / name / "ann.json").read_text())["images"]
    assert {result["image_id"] for result in written} == {image["id"] for image in images}


def test_a_file_without_persons(faults: Path, run: Callable, tmp_path: Path) -> None:
    """It can be predicted, but neither trained nor scored."""
    folder = faults / "annotations_empty"
    done = run("check_dataset", folder / "data.yaml")
    assert done.status == 1
    assert "error: no person has a labeled keypoint" in done.said
    with pytest.raises(ValueError, match=r"annotations_empty.* DATASETS\.MIN_KEYPOINTS = 1"):
        check_training(dataset_cfg(folder))
    for backend in ("hotcoco", "pycocotools"):
        cfg = dataset_cfg(folder, "TEST.COCO_BACKEND", backend, "OUTPUT_DIR", str(tmp_path))
        assert all(math.isnan(value) for value in own_metrics(cfg).values())


def test_mpii_images_are_read_upright(faults: Path, run: Callable) -> None:
    folder = faults / "mpii_exif"
    assert run("check_dataset", folder / "data.yaml").status == 0
    cfg = dataset_cfg(folder, "INPUT.MIN_SIZE_TEST", 0)
    check_training(cfg)
    ((sample,),) = build_test_loader(cfg, "mpii_exif")
    assert (sample["width"], sample["height"]) == (96, 64)
    assert sample["image"].shape == (3, 64, 96)
