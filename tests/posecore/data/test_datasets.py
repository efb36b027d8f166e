"""Datasets by name and definition files."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from posecore.data.datasets import dataset_metadata, load_dataset, register, register_definitions
from posecore.data.synthetic import make_dataset
from posecore.structures.skeleton import load_skeleton


@pytest.fixture
def define(tmp_path):
    """Writes a definition with fields changed (None: left out); returns its path."""

    def writer(file="set.yaml", **fields):
        content = {
            "name": "tiny",
            "annotations": "a.json",
            "images": "images",
            "skeleton": "coco_17",
        } | fields
        path = tmp_path / file
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return writer


def test_paths_start_at_the_definition(define, tmp_path):
    assert register_definitions([define()]) == ["tiny"]
    metadata = dataset_metadata("tiny")
    assert metadata.json_file == str(tmp_path / "a.json")
    assert metadata.image_root == str(tmp_path / "images")
    assert metadata.skeleton == load_skeleton("coco_17")


def test_absolute_paths_variables_and_home(define, tmp_path, monkeypatch):
    monkeypatch.setenv("SOMEWHERE", "/data/sets")
    monkeypatch.setenv("HOME", "/home/someone")
    register_definitions([define(annotations="${SOMEWHERE}/a.json", images="~/images")])
    assert dataset_metadata("tiny").json_file == "/data/sets/a.json"
    assert dataset_metadata("tiny").image_root == "/home/someone/images"


def test_an_unset_variable_is_named(define, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(ValueError, match=r"set\.yaml.*environment variable NOT_SET, which is not set"):
        register_definitions([define(images="$NOT_SET/images")])


def test_a_skeleton_of_its_own(define, tmp_path):
    skeleton = replace(load_skeleton("coco_17"), name="mine")
    content = {"name": "mine", "keypoints": ["a"], "flip_pairs": [], "limbs": [], "sigmas": [0.1]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    register_definitions([define(skeleton="mine.yaml")])
    assert dataset_metadata("tiny").skeleton.keypoints == ("a",)
    assert dataset_metadata("tiny").skeleton != skeleton


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": None}, r"must have the keys \['annotations', 'images', 'name', 'skeleton'\]"),
        ({"sigmas": [0.1]}, "has no others"),
        ({"name": 17}, "name must be text"),
        ({"annotations": ""}, "annotations must be text"),
        ({"skeleton": "coco_71"}, "no skeleton is called 'coco_71'"),
        (
            {"format": "voc"},
            r"'tiny': format must be one of 'coco', 'crowdpose', 'coco_wholebody', 'mpii', 'pck', not 'voc'",
        ),
        ({"ground_truth": "gt.mat"}, "format 'coco' has no ground_truth; only 'mpii' has"),
        ({"name": "mpii_val"}, "another dataset is called 'mpii_val'"),
        ({"name": "keypoints_coco_2017_val"}, "another dataset is called 'keypoints_coco_2017_val'"),
    ],
)
def test_wrong_definitions(define, fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        register_definitions([define(**fields)])
    assert "set.yaml" in str(caught.value)


def test_missing_files_are_named(define, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"DATASETS\.DEFINITIONS: .*gone\.yaml does not exist"):
        register_definitions([tmp_path / "gone.yaml"])
    with pytest.raises(FileNotFoundError, match=r"set\.yaml: skeleton file .*mine\.yaml does not exist"):
        register_definitions([define(skeleton="mine.yaml")])


def test_no_yaml_at_all(tmp_path):
    (tmp_path / "set.yaml").write_text("name: [unclosed")
    with pytest.raises(ValueError, match=r"set\.yaml"):
        register_definitions([tmp_path / "set.yaml"])


def test_two_definitions_of_one_name(define):
    with pytest.raises(ValueError, match="another dataset is called 'tiny'"):
        register_definitions([define(), define("other.yaml", images="elsewhere")])


def test_a_later_definition_replaces_an_earlier_one(define, tmp_path):
    register_definitions([define()])
    register_definitions([define(images="elsewhere")])
    assert dataset_metadata("tiny").image_root == str(tmp_path / "elsewhere")


def test_the_skeletons_must_be_equal(tmp_path):
    register_definitions([make_dataset(tmp_path, num_images=1)])
    with pytest.raises(
        ValueError, match=r"'synthetic_train' has skeleton 'coco_17', but DATASETS\.SKELETON is 'mpii_16'"
    ):
        load_dataset("synthetic_train", load_skeleton("mpii_16"))
    other = replace(load_skeleton("coco_17"), sigmas=(0.1,) * 17)
    with pytest.raises(ValueError, match=r"'coco_17' \(with other sigmas\)"):
        load_dataset("synthetic_train", other)


def test_detectron2_gets_the_same_dicts(tmp_path):
    register_definitions([make_dataset(tmp_path, num_images=2)])
    assert DatasetCatalog.get("synthetic_train") == load_dataset("synthetic_train", load_skeleton("coco_17"))


def test_unknown_datasets():
    with pytest.raises(ValueError, match=r"'coco_keypoints' is not known.*'keypoints_coco_2017_val'"):
        dataset_metadata("coco_keypoints")
    with pytest.raises(ValueError, match="'coco_2017_val' has no skeleton"):
        dataset_metadata("coco_2017_val")


def test_registered_in_python(tmp_path):
    register("by_hand", tmp_path / "a.json", tmp_path, load_skeleton("mpii_16"))
    assert MetadataCatalog.get("by_hand").skeleton.num_keypoints == 16


def test_formats(define, tmp_path):
    register_definitions([define(format="mpii", skeleton="mpii_16", ground_truth="gt.mat")])
    metadata = dataset_metadata("tiny")
    assert metadata.evaluator_type == "mpii"
    assert metadata.ground_truth == str(tmp_path / "gt.mat")
    register_definitions([define()])
    assert dataset_metadata("tiny").evaluator_type == "coco"


def test_a_dataset_that_somebody_else_registered(tmp_path):
    register("theirs", tmp_path / "a.json", tmp_path, load_skeleton("coco_17"))
    MetadataCatalog.pop("theirs")
    MetadataCatalog.get("theirs").set(skeleton=load_skeleton("coco_17"), evaluator_type="lvis")
    with pytest.raises(ValueError, match=r"'theirs': evaluator_type must be one of 'coco', .*not 'lvis'"):
        load_dataset("theirs", load_skeleton("coco_17"))


@pytest.mark.parametrize(
    ("name", "json_file", "images", "skeleton", "kind"),
    [
        (
            "keypoints_coco_2017_train",
            "coco/annotations/person_keypoints_train2017",
            "coco/train2017",
            17,
            "coco",
        ),
        ("keypoints_coco_2017_val", "coco/annotations/person_keypoints_val2017", "coco/val2017", 17, "coco"),
        (
            "keypoints_coco_2017_test-dev",
            "coco/annotations/image_info_test-dev2017",
            "coco/test2017",
            17,
            "coco",
        ),
        ("crowdpose_test", "crowdpose/annotations/crowdpose_test", "crowdpose/images", 14, "crowdpose"),
        (
            "crowdpose_trainval",
            "crowdpose/annotations/crowdpose_trainval",
            "crowdpose/images",
            14,
            "crowdpose",
        ),
        (
            "coco_wholebody_val",
            "coco/annotations/coco_wholebody_val_v1.0",
            "coco/val2017",
            133,
            "coco_wholebody",
        ),
        ("mpii_train", "mpii/annotations/mpii_train", "mpii/images", 16, "mpii"),
        ("mpii_val", "mpii/annotations/mpii_val", "mpii/images", 16, "mpii"),
        ("lspet_train", "lspet/train", "lspet/images", 14, "pck"),
        ("lspet_test", "lspet/test", "lspet/images", 14, "pck"),
    ],
)
def test_built_in_datasets(built_in, name, json_file, images, skeleton, kind):
    assert built_in[name][:4] == [f"/sets/{json_file}.json", f"/sets/{images}", skeleton, kind]


def test_pckh_is_measured_on_mpii_val_alone(built_in):
    ground_truths = {name: ground_truth for name, (*_, ground_truth) in built_in.items() if ground_truth}
    assert ground_truths == {"mpii_val": "/sets/mpii/annotations/mpii_gt_val.mat"}


@pytest.fixture(scope="module")
def built_in():
    """What a fresh process knows, with DETECTRON2_DATASETS set."""
    code = """
import json
from posecore.data.datasets import _pose_datasets, dataset_metadata
datasets = {name: dataset_metadata(name) for name in _pose_datasets()}
print(json.dumps({name: [
    metadata.json_file, metadata.image_root, metadata.skeleton.num_keypoints, metadata.evaluator_type,
    metadata.get("ground_truth")] for name, metadata in datasets.items()}))
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"DETECTRON2_DATASETS": "/sets"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)
