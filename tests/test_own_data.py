"""The commands of docs/own_data.md, from labelme's files to drawn poses, on drawn animals."""

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import cv2
import pytest
from helpers.labelme_files import DOG, write_labelme_folder
from helpers.loggers import own_loggers

# A training of two steps instead of hundreds, whose poses have low scores. Options come before the page's own
# arguments, KEY VALUE pairs behind them.
OPTIONS = {"predict.py": ["--threshold", "0"]}
KEYS = {
    "train_net.py": ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0"],
    "predict.py": ["MODEL.FCOS.SCORE_THRESH", "0.0"],
}


def commands(root: Path) -> list[list[str]]:
    """The commands of the page's first block, without the name of Python."""
    (block,) = re.findall(r"```bash\n(.*?)```", (root / "docs" / "own_data.md").read_text(), re.DOTALL)
    lines = [shlex.split(line) for line in block.splitlines()]
    assert all(line[0] == "python" for line in lines)
    return [line[1:] for line in lines]


@pytest.fixture
def logs(monkeypatch):
    yield from own_loggers(monkeypatch)


@pytest.fixture
def run(root, tmp_path, monkeypatch, capsys, logs):
    """Runs a tool by its path in a folder of the user's, and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(tool: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [tool, *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(root / tool), run_name="__main__")
        assert not end.value.code, end.value.code
        return capsys.readouterr().out

    return run


def test_the_whole_way(root, tmp_path, run):
    write_labelme_folder(tmp_path / "dog_labels", 6)
    (tmp_path / "new_dogs").mkdir()
    shutil.copy(next((tmp_path / "drawn" / "train").iterdir()), tmp_path / "new_dogs" / "new.jpg")
    printed = {}
    for tool, *arguments in commands(root):
        name = Path(tool).name
        printed[name] = run(tool, *OPTIONS.get(name, []), *arguments, *KEYS.get(name, []))
    assert "6 images, 0 of them without persons" in printed["import_dataset.py"]
    assert printed["import_dataset.py"].count(": 0 errors, ") == 2
    assert "flip pairs, left <-> right: left_ear <-> right_ear" in printed["import_dataset.py"]
    content = json.loads((tmp_path / "datasets" / "dogs" / "annotations" / "train.json").read_text())
    assert content["categories"][0]["keypoints"] == DOG["keypoints"]
    assert "keypoints/AP" in json.loads((tmp_path / "output" / "dogs_fcpose" / "results.json").read_text())
    assert cv2.imread(str(tmp_path / "samples.png")) is not None
    poses = json.loads((tmp_path / "found" / "poses.json").read_text())
    assert poses[0]["people"]
    assert set(poses[0]["people"][0]["keypoints"]) == set(DOG["keypoints"])
    (drawn,) = (tmp_path / "found").glob("new*")
    assert (cv2.imread(str(drawn)) != cv2.imread(str(tmp_path / "new_dogs" / "new.jpg"))).any()
