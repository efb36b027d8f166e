"""The file that says what a run has come to."""

import math
from pathlib import Path

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
