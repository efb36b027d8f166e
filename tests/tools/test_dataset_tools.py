"""The dataset tools, started as a user starts them."""

import cv2
import pytest
from helpers.processes import run_python

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
