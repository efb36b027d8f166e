"""The file that says what a run has come to."""

import math
from pathlib import Path

import pytest

from posecore.engine.results import clear_results, finite_metrics, read_results, write_results


def test_metrics_are_flat_and_in_order() -> None:
    results = {"val": {"keypoints": {"AP": 61.5, "APl": math.nan}, "bbox": {"AP": 50.0}}}
    assert list(finite_metrics(results).items()) == [("val/keypoints/AP", 61.5), ("val/bbox/AP", 50.0)]


def test_only_finished_runs_have_results(tmp_path: Path) -> None:
    assert read_results(tmp_path) is None
    clear_results(tmp_path)
    write_results(tmp_path, {"keypoints": {"AP": 61.5, "APl": math.nan}})
    assert read_results(tmp_path) == {"keypoints/AP": 61.5}
    clear_results(tmp_path)
    assert read_results(tmp_path) is None
    write_results(tmp_path, {})  # a test set without annotations
    assert read_results(tmp_path) == {}


@pytest.mark.parametrize("text", ["", '{"keypoints/AP": 6', "[1]", "null", '{"AP": "61"}', "\xff"])
def test_a_file_that_is_cut_or_something_else_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_bytes(text.encode("latin-1"))
    assert read_results(tmp_path) is None


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_results(tmp_path, {"AP": 1.0})

    def write_text(file: Path, text: str) -> None:
        file.write_bytes(text.encode()[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError, match="No space"):
        write_results(tmp_path, {"AP": 2.0})
    assert read_results(tmp_path) == {"AP": 1.0}
