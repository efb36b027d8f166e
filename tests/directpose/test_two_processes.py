"""A step of two processes is the step of one on their joined batch, also when one has no person."""

import pytest
from helpers.model_contract import two_processes_are_one

OVERRIDES = ("MODEL.DIRECTPOSE.BOX_BRANCH", True)


@pytest.mark.parametrize("people", [[2, 1, 3, 2], [0, 0, 1, 2], [0, 0, 0, 0], [1, 0, 0, 0]])
def test_two_processes_are_one_on_the_joined_batch(people: list[int]) -> None:
    two_processes_are_one("helpers.directpose_oracle", OVERRIDES, people)
