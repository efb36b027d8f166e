"""The table of errors that tools/analyze.py prints."""

import argparse
import importlib
import json
import sys

import pytest

from posecore.config.merge import UsageError
from posecore.data.synthetic import make_dataset


@pytest.fixture
def errors(root, monkeypatch):
    """The module of the command."""
    monkeypatch.syspath_prepend(str(root / "tools"))
    yield importlib.import_module("analyses.errors")
    for name in [name for name in sys.modules if name.partition(".")[0] == "analyses"]:
        del sys.modules[name]


@pytest.fixture
def run(errors, tmp_path, capsys):
    """Prints the errors of results on drawn figures, made of the annotations by a function."""
    definition = make_dataset(tmp_path, num_images=3, size=(96, 128), objects=0, cut=0)
    people = json.loads((tmp_path / "annotations" / "train.json").read_text())["annotations"]

    def call(change=lambda results: None):
        keys = ("image_id", "category_id", "keypoints")
        results = [{key: person[key] for key in keys} | {"score": 0.9} for person in people]
        change(results)
        (tmp_path / "results.json").write_text(json.dumps(results))
        parser = argparse.ArgumentParser()
        errors.add_arguments(parser)
        errors.run(parser.parse_args([str(definition), str(tmp_path / "results.json")]))
        return capsys.readouterr().out

    return call


def test_the_ground_truth_has_no_errors(run):
    printed = run()
    assert "0 poses are nobody's, 0 persons are not found" in printed
    assert "AP is 100.0" in printed
    (nose,) = [line.split() for line in printed.splitlines() if line.startswith("nose")]
    assert nose[2:] == ["100.0", "0.0", "0.0", "0.0", "0.0"]


def test_errors_are_counted(run):
    def shift(results):
        results[0]["keypoints"][0] += 1000

    (nose,) = [line.split() for line in run(shift).splitlines() if line.startswith("nose")]
    assert nose[-1] != "0.0"


def test_results_that_are_none(run):
    with pytest.raises(UsageError, match=r"results\.json: results are a list of poses"):
        run(lambda results: results.clear())
