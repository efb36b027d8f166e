"""The worked examples of docs/data.md work."""

import json
import re

import cv2
import numpy as np

from posecore.data.datasets import dataset_metadata, register_definitions
from posecore.data.synthetic import make_dataset
from posecore.evaluation.dataset_check import check_dataset


def examples(root):
    return re.findall(r"```(yaml|json)\n(.*?)```", (root / "docs" / "data.md").read_text(), re.DOTALL)


def test_the_dogs(root, tmp_path):
    blocks = examples(root)
    (_, skeleton), (_, annotations), (_, definition), _ = blocks
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "dog.yaml").write_text(skeleton)
    (tmp_path / "annotations" / "train.json").write_text(annotations)
    (tmp_path / "train.yaml").write_text(definition)
    (record,) = json.loads(annotations)["images"]
    image = np.zeros((record["height"], record["width"], 3), np.uint8)
    image[0] = 255  # The check warns of images of one color.
    cv2.imwrite(str(tmp_path / "images" / record["file_name"]), image)
    report = check_dataset(*register_definitions([tmp_path / "train.yaml"]))
    assert report.errors == []
    assert report.warnings == ["keypoint 'right_ear' is never labeled"]
    drawn = make_dataset(tmp_path / "drawn", num_images=2, size=(64, 64), skeleton=tmp_path / "dog.yaml")
    assert check_dataset(*register_definitions([drawn])).errors == []


def test_mpii_somewhere_else(root, tmp_path):
    *_, (_, definition) = examples(root)
    (tmp_path / "mpii.yaml").write_text(definition)
    assert register_definitions([tmp_path / "mpii.yaml"]) == ["my_mpii_val"]
    assert dataset_metadata("my_mpii_val").ground_truth == str(tmp_path / "gt_valid.mat")
