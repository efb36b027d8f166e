"""The page about results: its figures are those of evaluation, for any dataset and any skeleton."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.report_data import HOSTILE, make_figures, make_results
from helpers.skeletons import DOG

from posecore.config.merge import UsageError
from posecore.data.datasets import read_annotated, resolve_dataset
from posecore.evaluation.coco import score
from posecore.evaluation.errors import find_errors
from posecore.reports.results_figures import spread_choice
from posecore.reports.results_page import write_results_report
from posecore.structures.skeleton import load_skeleton


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawn images with results of two models; the path of the definition."""
    folder = tmp_path_factory.mktemp("figures")
    definition = make_figures(folder, num_images=6, size=(96, 128))
    make_results(definition, folder / "a" / "coco_instances_results.json")
    make_results(definition, folder / "b" / "coco_instances_results.json", quality=0.5, seed=1)
    return definition


@pytest.fixture(scope="module")
def page(figures: Path) -> Path:
    """The page of both."""
    output = figures.parent / "report.html"
    results = figures.parent / "a" / "coco_instances_results.json"
    write_results_report(results, str(figures), output, against=figures.parent / "b", draws=20, gallery=8)
    return output


class Elements(HTMLParser):
    """Collects the elements of a page, and the addresses that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.addresses += [value or "" for key, value in attributes if key in ("src", "href")]


def data_of(page: Path) -> dict:
    match = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL
    )
    assert match is not None
    return json.loads(match[1])


def test_the_json_has_the_figures_of_evaluation(page: Path, figures: Path) -> None:
    content = json.loads(page.with_suffix(".json").read_text())
    name = resolve_dataset(str(figures))
    skeleton = load_skeleton("coco_17")
    ground_truth = read_annotated(name)
    for key, folder in (("run", "a"), ("against", "b")):
        results = json.loads((figures.parent / folder / "coco_instances_results.json").read_text())
        expected = score(ground_truth, results, "keypoints", skeleton.sigmas, "pycocotools")
        for metric, interval in content[key]["headline"].items():
            value = interval["value"] if interval["value"] is not None else np.nan
            assert value == pytest.approx(expected[metric], abs=1e-6, nan_ok=True)
            if interval["value"] is not None:
                assert interval["low"] <= interval["high"]
        assert content[key]["errors"]["costs_in_AP"] == pytest.approx(
            find_errors(ground_truth, results, skeleton).gains
        )
    ours, theirs = (content[key]["headline"]["AP"]["value"] for key in ("run", "against"))
    assert content["differences"]["headline"]["AP"]["value"] == pytest.approx(ours - theirs)
    persons = content["run"]["persons"]
    assert len(persons) == sum(
        bool(person["num_keypoints"]) and not person["iscrowd"] for person in ground_truth["annotations"]
    )
    one = content["differences"]["images"][0]
    own = [person["oks"] for person in persons if person["image_id"] == one["image_id"]]
    assert one["run"] == pytest.approx(np.mean(own))


def test_no_name_breaks_out_and_nothing_is_fetched(page: Path) -> None:
    parser = Elements()
    parser.feed(page.read_text())
    assert parser.names.count("script") == 2
    assert all(address.startswith(("#", "data:")) for address in parser.addresses)
    data = data_of(page)
    name = HOSTILE.replace("/", "\u2215")
    assert name in [item["image"] for item in data["items"] + data["images"] + data["unmatched"]]


def test_galleries(page: Path) -> None:
    data = data_of(page)
    values = [item["oks"] for item in data["items"]]
    assert len(values) == 8
    assert values == sorted(values)
    for item in data["items"]:
        assert item["source"].startswith("data:image/webp;base64,")
        assert (item["pose"] is None) == (item["kind"] == "missed")
        assert len(item["gt"][0]) == 17
        # Labeled keypoints of uncut persons are in the cut-out.
        x, y, width, height = item["frame"]
        labeled = np.array([point[:2] for point in item["gt"][0] if point[2] > 0])
        assert (labeled >= [x, y]).all()
        assert (labeled <= [x + width, y + height]).all()
    assert all(item["difference"] for item in data["images"])


def test_without_images_the_figures_are_there(figures: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(figures.read_text())
    content |= {
        "name": "without",
        "annotations": str(figures.parent / content["annotations"]),
        "images": "gone",
    }
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump(content))
    output = tmp_path / "report.html"
    write_results_report(figures.parent / "a", str(tmp_path / "gone.yaml"), output, draws=0, gallery=3)
    assert "images could not be read" in output.read_text()
    assert all(item["source"] is None and item["frame"] for item in data_of(output)["items"])


@pytest.mark.parametrize("skeleton", ["dog", "coco_wholebody_133"])
def test_other_skeletons(skeleton: str, tmp_path: Path) -> None:
    """Five keypoints and 133, drawn as abstract shapes."""
    if skeleton == "dog":
        own = {key: getattr(DOG, key) for key in ("name", "keypoints", "flip_pairs", "limbs", "sigmas")}
        skeleton = str(tmp_path / "dog.yaml")
        Path(skeleton).write_text(yaml.safe_dump(json.loads(json.dumps(own))))
    definition = make_figures(tmp_path, num_images=2, size=(96, 96), skeleton=skeleton)
    make_results(definition, tmp_path / "coco_instances_results.json")
    run = write_results_report(tmp_path, str(definition), tmp_path / "report.html", draws=3, gallery=4)
    content = json.loads((tmp_path / "report.json").read_text())
    assert len(content["run"]["keypoints"]) == len(run.keypoint_precision) in (5, 133)
    assert "box" in content["run"]["pck"]["normalizer"] or len(run.keypoint_precision) == 133


def test_nobody_and_every_score_above_one(figures: Path, tmp_path: Path) -> None:
    source = json.loads((figures.parent / "annotations" / "train.json").read_text())
    (tmp_path / "nobody.json").write_text(json.dumps(source | {"annotations": []}))
    definition = yaml.safe_load(figures.read_text()) | {
        "name": "nobody",
        "annotations": "nobody.json",
        "images": str(figures.parent / "train"),
    }
    (tmp_path / "nobody.yaml").write_text(yaml.safe_dump(definition))
    pose = {"image_id": 1, "category_id": 1, "keypoints": [5.0] * 51, "score": 7.0}
    (tmp_path / "results.json").write_text(json.dumps([pose]))
    output = tmp_path / "report.html"
    run = write_results_report(tmp_path / "results.json", str(tmp_path / "nobody.yaml"), output, draws=2)
    assert np.isnan(run.headline["AP"].value)
    assert "cannot be read as probabilities" in output.read_text()


def test_results_that_are_wrong_leave_no_page(figures: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    for content, message in (
        ("[", "results.json"),
        ("[]", "one pose at least"),
        ('[{"image_id": 99, "category_id": 1, "keypoints": [], "score": 1}]', "image_id 99"),
    ):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(UsageError, match=message):
            write_results_report(tmp_path / "results.json", str(figures), output)
    with pytest.raises(UsageError, match=r"holds no coco_instances_results\.json"):
        write_results_report(tmp_path, str(figures), output)
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        write_results_report(tmp_path / "gone.json", str(figures), output)
    assert not output.exists()


def test_the_choice_of_a_gallery() -> None:
    values = list(np.linspace(1, 0, 100))
    chosen = spread_choice(values, 10)
    assert chosen[:5] == [99, 98, 97, 96, 95]
    assert chosen[-1] == 0
    assert len(set(chosen)) == 10
    assert spread_choice([0.5], 10) == [0]
    assert spread_choice([], 10) == []
    assert len(spread_choice(values, 1)) == 1
