"""The file results.json in OUTPUT_DIR: the final metrics of a training or an evaluation.

It exists only if the last run in that folder is finished, which tells finished runs from others.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.evaluation.testing import flatten_results_dict

FILE = "results.json"


def finite_metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """Nested metrics as ``{"keypoints/AP": 61.5}``, in their order, without those that are not finite.

    A metric is NaN where the dataset has no persons for it, and JSON has no NaN.
    """
    return {name: value for name, value in flatten_results_dict(results).items() if math.isfinite(value)}


def clear_results(folder: str | Path) -> None:
    """Removes the results of an earlier run from a folder."""
    (Path(folder) / FILE).unlink(missing_ok=True)


def write_results(folder: str | Path, results: Mapping[str, Any]) -> None:
    """Writes the metrics of a finished run; they may be nested, or empty. A cut file is never left."""
    file = Path(folder) / FILE
    unfinished = file.with_suffix(".json.part")
    unfinished.write_text(json.dumps(finite_metrics(results), indent=1))
    os.replace(unfinished, file)


def read_results(folder: str | Path) -> dict[str, float] | None:
    """The metrics of the run in a folder, as :func:`finite_metrics` names them; None if it is unfinished.

    A file that is cut, or is anything else than the metrics, does not say that the run is finished.
    """
    try:
        results = json.loads((Path(folder) / FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    numbers = isinstance(results, dict) and all(isinstance(value, int | float) for value in results.values())
    return results if numbers else None
