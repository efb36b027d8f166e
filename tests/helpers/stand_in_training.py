"""A stand-in for train_net.py that needs no torch: tests name it as the launcher of runs.

It is called as ``stand_in_training.py tools/train_net.py ... KEY VALUE ... OUTPUT_DIR FOLDER``. It counts
SOLVER.MAX_ITER iterations of 0.05 seconds, records an AP in metrics.json after each, saves the iteration at
SIGTERM or SIGINT and continues from it. The AP is 100 minus the distance of SOLVER.BASE_LR from 0.5, in
percent of the iterations that are done. SEED 13 fails. It notes the times at which it works and its
environment in runs.txt.
"""

import json
import multiprocessing
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 0.05
# As a launcher on a command line.
LAUNCHER = shlex.join([sys.executable, os.path.abspath(__file__)])


def main() -> None:
    values = dict(zip(sys.argv[:-1], sys.argv[1:], strict=True))
    folder = Path(values["OUTPUT_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stopped.append(number))
    saved = folder / "last_checkpoint"
    first = int(saved.read_text()) if saved.is_file() else 0
    rate, total = float(values.get("SOLVER.BASE_LR", 0.5)), int(values.get("SOLVER.MAX_ITER", 4))
    print(f"begins with iteration {first}", flush=True)
    begin, ap = time.time(), 0.0
    for iteration in range(first, total):
        time.sleep(SECONDS)
        ap = 100 * (1 - abs(rate - 0.5)) * (iteration + 1) / total
        with (folder / "metrics.json").open("a") as file:
            line = {"iteration": iteration, "keypoints/AP": ap, "total_loss": 1.0, "eta_seconds": 1.0}
            file.write(json.dumps(line) + "\n")
        if stopped:
            saved.write_text(str(iteration + 1))
            break
    note = {
        "first": first,
        "times": [begin, time.time()],
        "cards": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "ended": not stopped,
    }
    with (folder / "runs.txt").open("a") as file:
        file.write(json.dumps(note) + "\n")
    if stopped:
        sys.exit(128 + stopped[0])
    if values.get("SEED") == "13":
        sys.exit("stand_in_training.py: SEED 13 fails")
    (folder / "results.json").write_text(json.dumps({"keypoints/AP": ap}))


def notes(folder: Path) -> list[dict]:
    """What the stand-in noted in the folder of a run, once for each start."""
    return [json.loads(line) for line in (folder / "runs.txt").read_text().splitlines()]


def forked(function: Callable[..., object], *arguments: object) -> multiprocessing.process.BaseProcess:
    """Starts a function in a process that need not import anything again."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


if __name__ == "__main__":
    main()
