"""Processes that are killed: a checkpoint is whole or not there, and the training goes on bit for bit."""

import os
import random
import signal
import time

import pytest
import torch
from helpers import small_training as runs
from torch import nn

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.data.synthetic import make_dataset

pytestmark = pytest.mark.attack
SAVES = int(os.environ.get("POSECORE_ATTACK_SAVES", 300))
TRAININGS = int(os.environ.get("POSECORE_ATTACK_TRAININGS", 1))


def test_killed_while_saving(tmp_path):
    """Every kill leaves a folder that resumes from one of the last two saves."""
    rng = random.Random(0)
    model = nn.Linear(200, 200)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    last, empty = -1, 0
    for _ in range(SAVES):
        child = os.fork()
        if child == 0:
            saver = PoseCheckpointer(model, str(tmp_path), save_to_disk=True, optimizer=optimizer)
            for iteration in range(last + 1, last + 1000):
                saver.save(f"model_{iteration % 3:07d}", iteration=iteration)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        content = PoseCheckpointer(model, str(tmp_path), optimizer=optimizer).resume_or_load("", resume=True)
        found = content.get("iteration", -1)
        assert found >= last, "an older checkpoint was taken"
        last = found
        tag = tmp_path / "last_checkpoint"
        empty += tag.exists() and not tag.read_text()
        assert not list(tmp_path.glob("*.part"))
    assert last > 0
    assert empty == 0
    print(f"\nattack: killed while saving: {SAVES} kills, 0 older checkpoints, 0 empty files")


@pytest.mark.parametrize("options", [(), ("--num-gpus", "2")], ids=["alone", "spawned"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, options):
    """With random flips and two loading workers."""
    definition = make_dataset(tmp_path / "data", num_images=8, size=(64, 64), people=(1, 1))
    whole = tmp_path / "whole"
    assert runs.start(definition, whole, options=options, iterations=40).wait(200) == 0, runs.screen(whole)
    rng = random.Random(1)
    for number in range(TRAININGS):
        output = tmp_path / f"killed{number}"
        try:
            for _ in range(2):
                process = runs.start(definition, output, options=(*options, "--resume"), iterations=40)
                time.sleep(rng.uniform(6, 14))
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                assert not runs.left_over(output)
            last = runs.start(definition, output, options=(*options, "--resume"), iterations=40)
            assert last.wait(200) == 0, runs.screen(output)
        finally:
            runs.kill_all(output)
        assert runs.equal(runs.final_weights(output), runs.final_weights(whole))
    print(
        f"\nattack: killed and resumed {options}: {TRAININGS} trainings, {2 * TRAININGS} kills, equal weights"
    )


def test_the_workers_end_where_the_training_alone_is_killed(tmp_path):
    """They have the signals of a job blocked, and still do not outlive it."""
    definition = make_dataset(tmp_path / "data", num_images=8, size=(64, 64), people=(1, 1))
    output = tmp_path / "killed"
    process = runs.start(definition, output, iterations=5000)
    try:
        runs.wait_for(output, "  iter: 19  ", process, seconds=300)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not runs.left_over(output, seconds=15)
    finally:
        runs.kill_all(output)
    print("\nattack: the training process alone killed: 1 kill, no worker left")
