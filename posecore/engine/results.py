"""OUTPUT_DIR/results.json: the metrics that a training or an evaluation ended with.

The file is there only if the last one in that folder has come to its end, so that whoever starts many can
tell which are done.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.evaluation.testing import flatten_results_dict

FILE = "results.json"


def finite_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """Nested metrics as ``{"keypoints/AP": 61.5}``, in their order, without those that are no numbers.

    A metric is NaN where the dataset has nobody whom it is about; JSON has no word for that.
    """
    return {name: value for name, value in flatten_results_dict(results).items() if math.isfinite(value)}


def clear_outcome(folder: str | Path) -> None:
    """Forgets what an earlier run in a folder has come to."""
    (Path(folder) / FILE).unlink(missing_ok=True)


def write_outcome(folder: str | Path, results: Mapping[str, Any]) -> None:
    """Says that the run in a folder is over; its metrics may be nested, and none at all."""
    (Path(folder) / FILE).write_text(json.dumps(finite_metrics(results), indent=1))


def read_outcome(folder: str | Path) -> dict[str, float] | None:
    """The metrics of the run in a folder, as :func:`finite_metrics` names them; None if it is not over."""
    file = Path(folder) / FILE
    return json.loads(file.read_text()) if file.exists() else None
