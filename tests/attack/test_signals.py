"""SIGTERM and SIGINT to whole jobs: a checkpoint, one message, the usual status, and nothing left behind."""

import os
import signal
import time

import pytest
from helpers import small_training as runs

from posecore.data.synthetic import make_dataset

pytestmark = pytest.mark.attack
SPAWN = ("--num-gpus", "2")


@pytest.fixture(scope="module")
def definition(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=8, size=(64, 64), people=(1, 1))


@pytest.mark.parametrize(
    ("options", "number", "to_group"),
    [
        ((), signal.SIGTERM, False),
        ((), signal.SIGINT, True),
        (SPAWN, signal.SIGTERM, False),
        (SPAWN, signal.SIGINT, True),
    ],
    ids=["alone-term", "alone-int-group", "spawned-term", "spawned-int-group"],
)
def test_a_training_saves_and_goes_on(tmp_path, definition, number, options, to_group):
    output = tmp_path / "out"
    process = runs.start(
        definition, output, "SOLVER.CHECKPOINT_PERIOD", "0", options=options, iterations=5000
    )
    try:
        runs.wait_for(output, "  iter: 19  ", process)
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert process.wait(60) == 128 + number
        assert not runs.left_over(output)
        text = runs.screen(output)
        assert text.count(": stopped after iteration") == 1, text
        assert "Traceback" not in text
        (checkpoint,) = output.glob("model_*.pth")
        done = int(checkpoint.stem.removeprefix("model_")) + 1
        again = runs.start(definition, output, options=(*options, "--resume"), iterations=done + 2)
        assert again.wait(300) == 0, runs.screen(output)
        assert f"Starting training from iteration {done}" in runs.screen(output)
    finally:
        runs.kill_all(output)


def test_the_processes_of_torchrun_save_and_leave(tmp_path, definition):
    """torchrun itself ends with a status and a traceback of its own."""
    output = tmp_path / "out"
    process = runs.start(definition, output, starter=runs.TORCHRUN, iterations=5000)
    try:
        runs.wait_for(output, "  iter: 19  ", process)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) != 0
        assert not runs.left_over(output)
        assert runs.screen(output).count(": stopped after iteration") == 1, runs.screen(output)
        assert 'tools/train_net.py", line' not in runs.screen(output)
    finally:
        runs.kill_all(output)


@pytest.mark.parametrize("options", [(), SPAWN], ids=["alone", "spawned"])
def test_any_moment(tmp_path, definition, options):
    """Also while Python starts, data is read, and the last evaluation runs: never a hang or an orphan."""
    output = tmp_path / "out"
    try:
        for moment in (0.5, 3, 6, 9, 13):
            process = runs.start(definition, output, options=(*options, "--resume"), iterations=60)
            time.sleep(moment)
            finished = process.poll()
            if finished is None:
                os.killpg(process.pid, signal.SIGTERM)
            status = process.wait(60)
            assert status in (0, 143, -signal.SIGTERM), runs.screen(output)
            assert not runs.left_over(output)
        assert "Traceback" not in runs.screen(output), runs.screen(output)
    finally:
        runs.kill_all(output)
