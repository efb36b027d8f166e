"""Random numbers go on where they were captured, after a detour through a file too."""

import random

import numpy as np
import torch

from posecore.engine import random_state


def draw():
    return random.random(), np.random.normal(), np.random.rand(3).tolist(), torch.rand(3).tolist()


def test_round_trip_through_a_file(tmp_path):
    np.random.normal()  # leaves a second number waiting
    torch.save(random_state.capture(), tmp_path / "state.pth")
    expected = draw()
    draw()
    random_state.restore(torch.load(tmp_path / "state.pth", weights_only=True))
    assert draw() == expected
