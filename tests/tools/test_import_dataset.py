"""tools/import_dataset.py where the check of what it has written fails."""

import runpy
import sys

import pytest
from helpers.labelme_files import write_labelme_folder


def test_a_dataset_that_cannot_be_checked_is_reported(root, tmp_path, monkeypatch, capsys):
    def broken(*arguments):
        raise ValueError("train.json: it is on fire")

    monkeypatch.setattr("posecore.evaluation.dataset_check.check_dataset", broken)
    write_labelme_folder(tmp_path / "labels", 2)
    output = tmp_path / "dogs"
    monkeypatch.setattr(sys, "argv", ["import_dataset.py", str(tmp_path / "labels"), "--output", str(output)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(root / "tools" / "import_dataset.py"), run_name="__main__")
    assert end.value.code == 1
    printed = capsys.readouterr().out
    assert "train.yaml: 1 errors, 0 warnings\n  error: train.json: it is on fire" in printed
    assert (output / "train.yaml").is_file()
