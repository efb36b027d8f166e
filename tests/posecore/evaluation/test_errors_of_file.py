"""The tables of errors of a results file."""

import json

import pytest

from posecore.config.merge import UsageError
from posecore.data.synthetic import make_dataset
from posecore.evaluation.errors import describe_errors_of_file


@pytest.fixture
def describe(tmp_path):
    """Describes the errors of results on drawn figures, which a function changes from the annotations."""
    definition = make_dataset(tmp_path, num_images=3, size=(96, 128), objects=0, cut=0)
    people = json.loads((tmp_path / "annotations" / "train.json").read_text())["annotations"]

    def call(change=lambda results: None):
        keys = ("image_id", "category_id", "keypoints")
        results = [{key: person[key] for key in keys} | {"score": 0.9} for person in people]
        change(results)
        (tmp_path / "results.json").write_text(json.dumps(results))
        return describe_errors_of_file(str(definition), tmp_path / "results.json")

    return call


def test_the_ground_truth_has_no_errors(describe):
    printed = describe()
    assert "0 poses are nobody's, 0 persons are not found" in printed
    assert "AP is 100.0" in printed
    (nose,) = [line.split() for line in printed.splitlines() if line.startswith("nose")]
    assert nose[2:] == ["100.0", "0.0", "0.0", "0.0", "0.0"]


def test_errors_are_counted(describe):
    def shift(results):
        results[0]["keypoints"][0] += 1000

    (nose,) = [line.split() for line in describe(shift).splitlines() if line.startswith("nose")]
    assert nose[-1] != "0.0"


def test_a_dataset_of_another_category_and_text_ids(tmp_path):
    definition = make_dataset(tmp_path, num_images=3, size=(96, 128), objects=0, cut=0)
    file = tmp_path / "annotations" / "train.json"
    content = json.loads(file.read_text())
    content["categories"][0]["id"] = 7
    for image in content["images"]:
        image["id"] = f"image {image['id']}"
    for person in content["annotations"]:
        person |= {"image_id": f"image {person['image_id']}", "category_id": 7}
    file.write_text(json.dumps(content))
    keys = ("image_id", "category_id", "keypoints")
    results = [{key: person[key] for key in keys} | {"score": 0.9} for person in content["annotations"]]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "AP is 100.0" in describe_errors_of_file(str(definition), tmp_path / "results.json")
    results[0]["category_id"] = 1
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(UsageError, match=r"results\.json: entry 0 has category_id 1; persons have 7"):
        describe_errors_of_file(str(definition), tmp_path / "results.json")


def test_results_that_are_none(describe):
    with pytest.raises(UsageError, match=r"results\.json: results are a list of poses"):
        describe(lambda results: results.clear())
