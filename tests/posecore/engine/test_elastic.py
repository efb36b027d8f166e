"""Elastic restarts: torchrun starts a job again after the failure of a process."""

import signal
import sys
from pathlib import Path

import pytest
from helpers import small_training
from helpers.small_training import equal, final_weights, left_over, screen, start, wait_for

from posecore.data.synthetic import make_dataset

pytestmark = pytest.mark.long

ELASTIC = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def test_an_elastic_restart_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    """A worker is killed; torchrun starts all again, and the weights are those of an undisturbed training."""
    definition = make_dataset(tmp_path, num_images=6, size=(64, 64), people=(1, 1))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    common = ("DATALOADER.NUM_WORKERS", "0")
    try:
        undisturbed = start(definition, whole, *common, starter=ELASTIC, iterations=30)
        process = start(definition, killed, *common, starter=(*ELASTIC, "--max-restarts", "1"), iterations=30)
        wait_for(killed, "Saved ", process, seconds=240)
        small_training.signal_rank(killed, 1, signal.SIGKILL)
        assert process.wait(timeout=300) == 0, screen(killed)
        assert undisturbed.wait(timeout=300) == 0, screen(whole)
        text = screen(killed)
        assert text.count("Starting training from iteration") == 2
        assert "Starting training from iteration 0" in text
        assert equal(final_weights(whole), final_weights(killed))
        assert left_over(killed) == []
    finally:
        small_training.kill_all(whole)
        small_training.kill_all(killed)
