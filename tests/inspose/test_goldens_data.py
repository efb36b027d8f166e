"""The persons of training samples and the sizes of images, against those of the official data pipeline."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from helpers.inspose_oracle import official_cfg
from PIL import Image
from torch.testing import assert_close

from posecore.data.augment import build_augmentations
from posecore.data.mapper import PoseMapper


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict:
    return json.loads((shared / "oracles/inspose/pipeline.json").read_text())


@pytest.fixture
def record(golden: dict, tmp_path: Path) -> dict:
    """The dataset record of the image; its keypoints are those of the annotation file."""
    width, height = golden["image_wh"]
    file = tmp_path / "image.png"
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(file)
    people = [
        # The masks of the stored case are the boxes, so the area is that of the box.
        person | {"bbox_mode": BoxMode.XYWH_ABS, "area": person["bbox"][2] * person["bbox"][3]}
        for person in golden["annotations_raw"]
    ]
    return {"file_name": str(file), "image_id": 1, "height": height, "width": width, "annotations": people}


@pytest.mark.parametrize("kind", ["noflip", "flip"])
def test_persons_of_a_training_sample(golden: dict, record: dict, kind: str) -> None:
    expected = golden[kind]
    height, width, _ = expected["img_shape"]
    cfg = official_cfg("INPUT.MIN_SIZE_TRAIN", (height,), "INPUT.RANDOM_FLIP", "none")
    mapper = PoseMapper(cfg, is_train=True)
    if kind == "flip":
        mapper.augmentations.append(T.RandomFlip(1.0))
    people = mapper(record)["instances"]
    assert people.image_size == (height, width)
    assert_close(people.gt_boxes.tensor, torch.tensor(expected["gt_bboxes"]), atol=1e-3, rtol=0)
    keypoints = torch.tensor(expected["gt_keypoints"]).unflatten(1, (-1, 3))
    assert_close(people.gt_keypoints.tensor, keypoints, atol=1e-3, rtol=0)
    # The official area is the number of pixels of the resized mask.
    assert_close(people.gt_areas, torch.tensor(expected["mask_area"]).float(), atol=0, rtol=6e-3)


def test_size_of_a_test_image(golden: dict, record: dict) -> None:
    image = PoseMapper(official_cfg(), is_train=False)(record)["image"]
    assert [*image.shape[1:], 3] == golden["test"]["img_shape"]


def test_sizes_of_training_images() -> None:
    resize, flip = build_augmentations(official_cfg(), is_train=True)
    assert tuple(resize.short_edge_length) == (640, 672, 704, 736, 768, 800)
    assert (resize.is_range, resize.max_size, flip.prob) == (False, 1333, 0.5)
