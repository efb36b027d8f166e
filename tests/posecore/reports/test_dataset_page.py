"""The pages about a dataset and its samples: every finding with its images, for any skeleton."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.report_data import make_faults, make_figures
from helpers.skeletons import DOG

from posecore.config import get_cfg
from posecore.config.merge import UsageError
from posecore.data.datasets import dataset_metadata, read_annotated, register_definitions
from posecore.evaluation.dataset_check import check_dataset
from posecore.evaluation.dataset_persons import gather_persons
from posecore.evaluation.findings import Report
from posecore.reports.charts import histogram
from posecore.reports.dataset_page import label_counts, positions_in_boxes, write_dataset_page
from posecore.reports.samples_page import write_samples_page


def data_of(page: Path) -> dict:
    match = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    assert match is not None
    return json.loads(match[1])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("faults")
    definition, other = make_faults(folder, num_images=14)
    (name,) = register_definitions([definition])
    report = check_dataset(name, others=register_definitions([other]))
    write_dataset_page(name, report, folder / "page.html")
    return folder / "page.html", report


def test_every_finding_is_on_the_page_and_in_the_json(page) -> None:
    file, report = page
    data, content = data_of(file), json.loads(file.with_suffix(".json").read_text())
    assert [finding["message"] for finding in content["findings"]] == [
        finding.message for finding in report.findings
    ]
    for index, finding in enumerate(report.findings):
        items = data[f"finding-{index}"]
        assert len(items) == len(finding.examples)
        for item, example in zip(items, finding.examples, strict=True):
            assert example.file.endswith(item["image"])
            assert (item["source"] is None) == ("cannot be read" in finding.message)
            assert ("beside" in item) == (example.beside is not None)
            assert item["flagged"] == list(example.keypoints)
    assert "<script>alert" not in file.read_text()


def test_labels_are_counted(page) -> None:
    content = json.loads(page[0].with_suffix(".json").read_text())
    for row in content["labels"]:
        assert row["visible"] + row["hidden"] + row["unlabeled"] == content["persons"]


@pytest.mark.parametrize("keypoints", [5, 133])
def test_other_skeletons(keypoints: int, tmp_path: Path) -> None:
    skeleton = "coco_wholebody_133"
    if keypoints == 5:
        skeleton = str(tmp_path / "dog.yaml")
        own = {key: getattr(DOG, key) for key in ("name", "keypoints", "flip_pairs", "limbs", "sigmas")}
        Path(skeleton).write_text(yaml.safe_dump(json.loads(json.dumps(own))))
    (name,) = register_definitions([make_figures(tmp_path, num_images=2, size=(64, 64), skeleton=skeleton)])
    write_dataset_page(name, check_dataset(name), tmp_path / "page.html")
    assert len(json.loads((tmp_path / "page.json").read_text())["labels"]) == keypoints
    metadata = dataset_metadata(name)
    persons = gather_persons(read_annotated(name), metadata.skeleton, metadata.image_root)
    positions = positions_in_boxes(persons)
    assert np.isfinite(positions).all(axis=-1).tolist() == persons.labeled.tolist()
    assert label_counts(persons, metadata.skeleton)[0]["visible"] == (persons.keypoints[:, 0, 2] == 2).sum()


def test_nobody_at_all(tmp_path: Path) -> None:
    definition = make_figures(tmp_path, num_images=2, size=(48, 48))
    file = tmp_path / "annotations" / "train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"annotations": []}))
    (name,) = register_definitions([definition])
    write_dataset_page(name, check_dataset(name), tmp_path / "page.html")
    assert "no person has a labeled keypoint" in (tmp_path / "page.html").read_text()


def test_a_page_never_replaces_the_annotations(tmp_path: Path) -> None:
    definition = make_figures(tmp_path, num_images=1, size=(48, 48))
    (name,) = register_definitions([definition])
    before = (tmp_path / "annotations" / "train.json").read_text()
    with pytest.raises(UsageError, match="give the page another name"):
        write_dataset_page(name, Report(), tmp_path / "annotations" / "train.html")
    assert (tmp_path / "annotations" / "train.json").read_text() == before
    assert not (tmp_path / "annotations" / "train.html").exists()


def test_histograms_count_everything() -> None:
    columns = histogram(np.array([-1, 0, 0.5, 1, 7]), np.array([0, 0.5, 1]), {0: "a"}, "persons")
    assert [column.value for column in columns] == [2, 3]
    assert columns[0].name == "a"


@pytest.mark.parametrize("samples", ["images", "person_crops"])
def test_samples(samples: str, tmp_path: Path) -> None:
    definition = make_figures(tmp_path, num_images=3, size=(64, 80))
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.DEFINITIONS", [str(definition)], "DATASETS.TRAIN", ("synthetic_train",)])
    cfg.merge_from_list(
        ["INPUT.SAMPLES", samples, "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.CROPS.SIZE", (48, 64)]
    )
    register_definitions(cfg.DATASETS.DEFINITIONS)
    write_samples_page(cfg, tmp_path / "samples.html", count=4)
    items = data_of(tmp_path / "samples.html")["samples"]
    assert len(items) == 4
    for item in items:
        assert (item["kind"] == "people") == bool(item["marks"])
        assert all(len(pose) == 17 for pose in item["marks"])
