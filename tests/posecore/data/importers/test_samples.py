"""Every importer against the samples of its tool's files and their expected content."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from posecore.data.importers import IMPORTERS, recognize
from posecore.data.importers.convert import read_keypoint_names
from posecore.data.importers.dataset import ImportedDataset, ImportedImage
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.skeletons import complete_skeleton

pytest.importorskip("h5py", reason="h5py is not installed (requirements/import.txt)")
pytest.importorskip("defusedxml", reason="defusedxml is not installed (requirements/import.txt)")


@dataclass(frozen=True)
class Sample:
    """A sample: its folder or file, its expected files by split, and what a user says about it."""

    source: str
    format: str
    expected: tuple[tuple[str, str], ...] = (("train", "expected.json"),)
    category: str | None = None
    keypoints: tuple[str, ...] | None = None
    keypoint_file: str | None = None


VALID = (("train", "expected.json"), ("val", "expected_val.json"))
SAMPLES = [
    Sample("ultralytics/dogs", "ultralytics", VALID),
    Sample("ultralytics/dogs/data.yaml", "ultralytics", VALID),
    Sample("ultralytics/fish_list", "ultralytics", (("train", "expected_fish.json"),), "fish"),
    Sample("ultralytics/split_first", "ultralytics", VALID, keypoints=("top", "bottom")),
    Sample("cvat/xml_images", "cvat"),
    Sample("cvat/xml_video", "cvat"),
    Sample("cvat/coco_keypoints", "coco"),
    Sample("cvat/yolo_pose", "ultralytics", (("train", "expected_person.json"),), "person"),
    Sample("cvat/yolo_pose", "ultralytics", (("train", "expected_hand.json"),), "hand"),
    Sample("label_studio/json", "label-studio"),
    Sample("label_studio/json_min", "label-studio"),
    Sample("label_studio/coco", "coco"),
    Sample("labelme/two_groups", "labelme", keypoint_file="keypoints.txt"),
    Sample("deeplabcut/single", "deeplabcut"),
    Sample("deeplabcut/multi", "deeplabcut"),
    Sample("deeplabcut/multi/config.yaml", "deeplabcut"),
    Sample("sleap/images_v1_2", "sleap"),
    Sample("sleap/film_v1_0", "sleap"),
    Sample("sleap/package", "sleap"),
    Sample("sleap/json_v2", "sleap"),
    Sample("roboflow_coco/glue", "coco", (("train", "expected.json"), ("valid", "expected_valid.json"))),
    Sample("via/project", "via"),
    Sample("via/project/via_region_data.json", "via"),
    Sample("via/project/via_region_data.csv", "via"),
    Sample("mpii_mat/release", "mpii-mat", (("train", "expected_train.json"),)),
    Sample("lsp_mat/lsp", "lsp-mat"),
    Sample("lsp_mat/lspet", "lsp-mat"),
]


def read(formats: Path, sample: Sample) -> ImportedDataset:
    source = formats / sample.source
    keypoints = sample.keypoints
    if sample.keypoint_file:
        keypoints = read_keypoint_names(source / sample.keypoint_file)
    options = ImportOptions(category=sample.category, keypoints=keypoints)
    return IMPORTERS[recognize(source)].read(source, options)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.source}-{sample.category}")
def test_a_sample_is_read_as_expected(formats, sample):
    source = formats / sample.source
    assert recognize(source) == sample.format
    dataset = read(formats, sample)
    folder = source if source.is_dir() else source.parent
    for split, name in sample.expected:
        expected = json.loads((folder / name).read_text())
        images = [image for image in dataset.images if image.split in (split, None, "default")]
        assert [part(image.name) for image in images] == [
            part(item["file_name"]) for item in expected["images"]
        ]
        assert_equal_images(images, expected)
        (category,) = [item for item in expected["categories"] if item["keypoints"]]
        assert dataset.skeleton.category == category["name"]
        assert list(dataset.skeleton.keypoints) == category["keypoints"]
        limbs = complete_skeleton(dataset, "s").limb_indices if dataset.skeleton.limbs else ()
        assert sorted(map(sorted, limbs)) == sorted(sorted((a - 1, b - 1)) for a, b in category["skeleton"])


def part(name: str) -> str:
    return name.rpartition("/")[2]


def assert_equal_images(images: list[ImportedImage], expected: dict) -> None:
    for image, item in zip(images, expected["images"], strict=True):
        assert (image.width, image.height) == (item["width"], item["height"])
        people = [person for person in expected["annotations"] if person["image_id"] == item["id"]]
        assert len(image.persons) == len(people), image.name
        for person, other in zip(image.persons, people, strict=True):
            keypoints = np.array(other["keypoints"]).reshape(-1, 3)
            np.testing.assert_allclose(person.keypoints, keypoints, atol=0.01)
            np.testing.assert_allclose(person.enclosing_box(), other["bbox"], atol=0.01)
            assert (person.box is not None) == (other["bbox_from"] == "file")


@pytest.mark.parametrize("name", ["deeplabcut/single", "deeplabcut/multi"])
def test_deeplabcut_without_csv(formats, tmp_path, name):
    """All .h5 files; a video of one sample has a CSV file alone."""
    source = tmp_path / "project"
    shutil.copytree(formats / name, source)
    for file in source.rglob("*.csv"):
        if file.with_suffix(".h5").is_file():
            file.unlink()
    expected = json.loads((source / "expected.json").read_text())
    dataset = IMPORTERS["deeplabcut"].read(source, ImportOptions())
    assert_equal_images(list(dataset.images), expected)


@pytest.mark.parametrize("name", ["ultralytics/dogs", "sleap/images_v1_2"])
def test_flip_pairs_and_limbs(formats, name):
    expected = json.loads((formats / name / "expected_skeleton.json").read_text())
    dataset = IMPORTERS[recognize(formats / name)].read(formats / name, ImportOptions())
    skeleton = complete_skeleton(dataset, "s")
    assert list(map(list, skeleton.flip_pairs)) == expected["flip_pairs"]
    assert list(map(list, skeleton.limbs)) == expected["limbs"]


@pytest.mark.parametrize(
    ("name", "images", "persons"),
    [
        ("cvat-ai_datumaro/cvat_dataset/for_images", 2, 2),
        ("cvat-ai_datumaro/cvat_dataset/for_video", 3, 3),
        ("cvat-ai_datumaro/yolo_dataset/yolov8_pose", 1, 1),
        ("cvat-ai_datumaro/yolo_dataset/yolov8_pose_two_values_per_point", 1, 1),
        ("cvat-ai_datumaro/coco_dataset/coco_person_keypoints", 2, 1),
        ("cvat-ai_datumaro/mpii_dataset", 3, 4),
        ("label-studio-sdk", 1, 1),
    ],
)
def test_real_files_are_read(formats, name, images, persons):
    source = formats / "real" / name
    dataset = IMPORTERS[recognize(source)].read(source, ImportOptions())
    assert len(dataset.images) == images
    assert sum(len(image.persons) for image in dataset.images) == persons
