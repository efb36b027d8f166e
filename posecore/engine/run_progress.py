"""The progress of runs: :func:`read_progress` reads it, and :class:`ProgressLines` shows it on a terminal."""

import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

METRICS = "metrics.json"
# Bytes at the end of metrics.json that hold its last lines.
TAIL = 20_000


@dataclass(frozen=True)
class RunProgress:
    """What the last lines of a run's metrics.json say.

    Attributes:
        iteration: the last one that is recorded.
        loss: "total_loss".
        eta: seconds that remain, as the run estimates them.
        ap: the AP of the last evaluation in the lines.
    """

    iteration: int
    loss: float | None = None
    eta: float | None = None
    ap: float | None = None

    def describe(self) -> str:
        """The progress in a few words."""
        words = [f"iteration {self.iteration + 1}"]
        if self.loss is not None:
            words.append(f"loss {self.loss:.3f}")
        if self.ap is not None:
            words.append(f"AP {self.ap:.1f}")
        if self.eta is not None:
            words.append(f"{timedelta(seconds=round(self.eta))} left")
        return ", ".join(words)


def read_progress(folder: Path) -> RunProgress | None:
    """The progress of the run in a folder; None if it has recorded nothing yet. Cut lines are left out."""
    lines = metrics_lines(folder, tail=TAIL)
    if not lines:
        return None

    def last(name: str) -> float | None:
        return next((line[name] for line in reversed(lines) if name in line), None)

    ap = next((name for line in reversed(lines) for name in line if name.endswith("/AP")), "keypoints/AP")
    return RunProgress(
        iteration=int(last("iteration") or 0), loss=last("total_loss"), eta=last("eta_seconds"), ap=last(ap)
    )


def metrics_lines(folder: Path, tail: int | None = None) -> list[dict[str, float]]:
    """The lines of metrics.json in a folder, which may be written at this moment.

    Args:
        folder: of a run.
        tail: bytes at the end of the file that are read; None for all.
    """
    file = folder / METRICS
    try:
        with file.open("rb") as stream:
            if tail is not None and file.stat().st_size > tail:
                stream.seek(-tail, 2)
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            lines.append(content)
    return lines


class ProgressLines:
    """One line on a terminal for each place in which a run can be; elsewhere it shows nothing.

    Args:
        count: number of places.
        file: the terminal.
    """

    def __init__(self, count: int, file: TextIO = sys.stderr) -> None:
        self._lines = [
            tqdm(bar_format="{desc}", position=place, file=file, disable=not file.isatty(), leave=False)
            for place in range(count)
        ]

    def show(self, place: int, text: str) -> None:
        """Replaces the text of a line."""
        if self._lines:
            self._lines[place].set_description_str(text)

    def close(self) -> None:
        """Removes the lines."""
        for line in self._lines:
            line.close()
