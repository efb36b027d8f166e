"""Whose boxes evaluation cuts crops from, and that poses come back where they were."""

import json

import pytest
import torch
import yaml
from detectron2.modeling import build_model
from helpers.dot_dataset import dots_cfg, make_cfg
from helpers.processes import in_processes

import poseur  # noqa: F401  (registers the samples, in other processes too)
from posecore.data import build_samples, build_test_loader, load_dataset, register, register_definitions
from posecore.engine.evaluate import evaluate
from posecore.structures.skeleton import load_skeleton


@pytest.fixture
def dots(tmp_path):
    cfg = dots_cfg(tmp_path)
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "DotPose", "OUTPUT_DIR", str(tmp_path / "out")])
    return cfg


def detect_from_file(cfg, folder, *detections):
    file = folder / "found.json"
    file.write_text(json.dumps([{"category_id": 1, **item} for item in detections]))
    cfg.merge_from_list(["INPUT.CROPS.BOXES", "file", "INPUT.CROPS.BOX_FILES", (str(file),)])
    return file


def detect_with_a_model(cfg, folder):
    """The toy detector and its weights."""
    detector = {"MODEL": {"META_ARCHITECTURE": "OneDetector"}, "INPUT": {"MIN_SIZE_TEST": 220}}
    (folder / "detector.yaml").write_text(yaml.safe_dump(detector))
    torch.save({"model": {"score": torch.tensor([0.75])}}, folder / "detector.pth")
    node = cfg.INPUT.CROPS
    node.BOXES = "detector"
    node.DETECTOR.CONFIG_FILE = str(folder / "detector.yaml")
    node.DETECTOR.WEIGHTS = str(folder / "detector.pth")


def all_samples(cfg):
    return [sample for batch in build_test_loader(cfg, "dots") for sample in batch]


@pytest.mark.parametrize("boxes", ["ground_truth", "file", "detector"])
def test_poses_are_found_where_they_are(dots, tmp_path, boxes):
    """From the annotations through crops and back, every half pixel included."""
    dots.TEST.NUM_PREVIEWS = 0
    if boxes == "file":
        detect_from_file(dots, tmp_path, {"image_id": 1, "bbox": [45, 25, 60, 55], "score": 0.5})
    elif boxes == "detector":
        detect_with_a_model(dots, tmp_path)
    ground_truth = json.loads((tmp_path / "ground_truth.json").read_text())
    ground_truth["annotations"] = [
        item | {"area": 25.0} for item in ground_truth["annotations"] if item["id"] == 1
    ]
    (tmp_path / "ground_truth.json").write_text(json.dumps(ground_truth))
    results = evaluate(dots, build_model(dots))
    assert results["keypoints"]["AP"] == pytest.approx(100)


def test_boxes_from_a_file(dots, tmp_path):
    one = {"image_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}
    detect_from_file(dots, tmp_path, one, {**one, "score": 0.25}, {**one, "bbox": [-5, 0, 500, 9]})
    first, second = all_samples(dots)
    assert first["boxes"].tolist() == [[10, 20, 40, 60], [10, 20, 40, 60], [-5, 0, 495, 9]]
    assert first["box_scores"].tolist() == [0.5, 0.25, 0.5]
    assert len(second["crops"]) == 0
    dots.INPUT.CROPS.MIN_SCORE = 0.3
    assert [len(sample["crops"]) for sample in all_samples(dots)] == [2, 0]


def test_the_boxes_of_a_real_detector(shared):
    data = shared / "data" / "coco"
    cfg = make_cfg("INPUT.CROPS.BOXES", "file", "DATASETS.TEST", ("photos",))
    cfg.INPUT.CROPS.BOX_FILES = (str(data / "person_detections.json"),)
    register("photos", data / "person_keypoints.json", data, load_skeleton("coco_17"))
    found = [sample for batch in build_test_loader(cfg, "photos") for sample in batch]
    assert sum(len(sample["crops"]) for sample in found) == 118


def test_boxes_of_a_detector(dots, tmp_path):
    detect_with_a_model(dots, tmp_path)
    first, second = all_samples(dots)
    (box,) = first["boxes"].tolist()
    assert box == pytest.approx([56, 31, 100, 75], abs=2), "the dog is left out"
    assert first["box_scores"].tolist() == [0.75]
    assert len(second["crops"]) == 0


def shares(cfg):
    """In a process: the boxes of all images, wherever they were detected."""
    register_definitions(cfg.DATASETS.DEFINITIONS)
    first, second = load_dataset("dots", load_skeleton(cfg.DATASETS.SKELETON))
    records = build_samples(cfg).test_records("dots", [first, second, first])
    return [record["people"].boxes.tolist() for record in records]


def test_two_processes_share_the_work(dots, tmp_path):
    detect_with_a_model(dots, tmp_path)
    first, second = in_processes(shares, 2, dots)
    assert first == second
    assert [len(boxes) for boxes in first] == [1, 0, 1]
    assert first[0] == first[2]


def test_ground_truth_needs_annotations(dots, tmp_path):
    ground_truth = json.loads((tmp_path / "ground_truth.json").read_text())
    (tmp_path / "ground_truth.json").write_text(json.dumps({"images": ground_truth["images"]}))
    with pytest.raises(ValueError, match=r"'dots' has no annotations.*INPUT\.CROPS\.BOXES to 'file'"):
        all_samples(dots)
    detect_from_file(dots, tmp_path, {"image_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5})
    assert [len(sample["crops"]) for sample in all_samples(dots)] == [1, 0]


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["INPUT.CROPS.BOXES", "file"], ValueError, r"BOX_FILES needs a file for each of DATASETS\.TEST"),
        (
            ["INPUT.CROPS.BOXES", "file", "INPUT.CROPS.BOX_FILES", ("gone.json",)],
            FileNotFoundError,
            r"INPUT\.CROPS\.BOX_FILES: gone\.json does not exist",
        ),
        (["INPUT.CROPS.BOXES", "detector"], FileNotFoundError, r"DETECTOR\.CONFIG_FILE must be"),
    ],
)
def test_what_is_missing_shows_before_a_training(dots, overrides, error, message):
    dots.merge_from_list(overrides)
    samples = build_samples(dots)
    with pytest.raises(error, match=message):
        samples.check("dots")
    with pytest.raises(error, match=message):
        all_samples(dots)


def test_detectors_need_weights(dots, tmp_path):
    detect_with_a_model(dots, tmp_path)
    dots.INPUT.CROPS.DETECTOR.WEIGHTS = ""
    with pytest.raises(ValueError, match=r"INPUT\.CROPS\.DETECTOR\.WEIGHTS must be"):
        build_samples(dots).check("dots")


def test_a_file_of_another_dataset(dots, tmp_path):
    file = detect_from_file(dots, tmp_path, {"image_id": 3, "bbox": [10, 20, 30, 40], "score": 0.5})
    with pytest.raises(ValueError, match=rf"{file}: 1 of its 1 images are not in the dataset"):
        all_samples(dots)
