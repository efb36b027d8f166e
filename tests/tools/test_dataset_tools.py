"""The dataset tools, started as a user starts them."""

import json
import runpy
import sys

import cv2
import pytest
from helpers.processes import run_python
from helpers.report_data import make_faults

from posecore.data.synthetic import make_dataset


def run(root, tool, *arguments):
    return run_python([root / "tools" / tool, *map(str, arguments)])


def test_check_dataset(root, tmp_path):
    definition = make_dataset(tmp_path, num_images=2, size=(48, 48))
    good = run(root, "check_dataset.py", definition)
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "synthetic_train: 0 errors, 0 warnings")
    (tmp_path / "train" / "000001.jpg").unlink()
    bad = run(root, "check_dataset.py", definition)
    assert bad.returncode == 1
    assert "error: 1 of 2 images do not exist" in bad.stdout
    missing = run(root, "check_dataset.py", "gone.yaml")
    assert (missing.returncode, missing.stderr) == (1, "")
    assert missing.stdout == "error: DATASETS.DEFINITIONS: gone.yaml does not exist\n"


def test_check_dataset_with_a_page(root, tmp_path, monkeypatch, capsys):
    """In this process, because a start of the tool takes seconds."""
    definition, other = make_faults(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text("MODEL: {BACKBONE: {NAME: build_resnet_backbone}}\nVERSION: 2\n")
    page = tmp_path / "page.html"

    def start(*arguments):
        monkeypatch.setattr(sys, "argv", ["check_dataset.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(root / "tools" / "check_dataset.py"), run_name="__main__")
        return end.value.code

    options = ["--against", other, "--html", page, "--config-file", config]
    assert start(definition, *options, "--opts", "INPUT.MIN_SIZE_TEST", 20) == 1
    shown = capsys.readouterr().out
    assert "2 of 24 images have a near duplicate in synthetic_val" in shown
    assert "a longer side of less than 32 pixels" in shown
    assert len(json.loads(page.with_suffix(".json").read_text())["findings"]) == 6
    assert start(definition, "--opts", "INPUT.MIN_SIZE_TEST", 20) == 2
    assert "add --config-file" in capsys.readouterr().err
    assert "must end in one of .html" in start(definition, "--html", tmp_path / "page.png")


@pytest.mark.parametrize(
    "shown",
    ["{MIN_SIZE_TRAIN: [48], CROP: {ENABLED: True}}", "{SAMPLES: person_crops, CROPS: {SIZE: [40, 30]}}"],
)
def test_browse_dataset(root, tmp_path, shown):
    definition = make_dataset(tmp_path, num_images=2, size=(48, 64))
    config = tmp_path / "config.yaml"
    config.write_text(f"INPUT: {shown}\nVERSION: 2\n")
    image = tmp_path / "samples.png"
    overrides = ["DATASETS.DEFINITIONS", [str(definition)], "DATASETS.TRAIN", ("synthetic_train",)]
    done = run(
        root,
        "browse_dataset.py",
        "--config-file",
        config,
        "--output",
        image,
        "--count",
        5,
        "--width",
        100,
        *overrides,
    )
    assert done.returncode == 0, done.stderr
    assert cv2.imread(str(image)).shape[1] == 4 * 106 + 6
