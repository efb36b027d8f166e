"""The file that says what a run has come to."""

import math
from pathlib import Path

from posecore.engine.results import clear_outcome, finite_metrics, read_outcome, write_outcome


def test_metrics_are_flat_and_in_order() -> None:
    results = {"val": {"keypoints": {"AP": 61.5, "APl": math.nan}, "bbox": {"AP": 50.0}}}
    assert list(finite_metrics(results).items()) == [("val/keypoints/AP", 61.5), ("val/bbox/AP", 50.0)]


def test_only_runs_that_are_over_have_an_outcome(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    clear_outcome(tmp_path)
    write_outcome(tmp_path, {"keypoints": {"AP": 61.5, "APl": math.nan}})
    assert read_outcome(tmp_path) == {"keypoints/AP": 61.5}
    clear_outcome(tmp_path)
    assert read_outcome(tmp_path) is None
    write_outcome(tmp_path, {})  # a test set without annotations
    assert read_outcome(tmp_path) == {}
