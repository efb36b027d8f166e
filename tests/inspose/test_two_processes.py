"""A step of two processes is the step of one on their joined batch, also when one has no person."""

import pytest
from behaviour import two_processes_are_one

RELEASED = ("MODEL.META_ARCHITECTURE", "InsPoseReleased")


@pytest.mark.parametrize(
    ("overrides", "people"),
    [((), [2, 1, 3, 2]), (("MODEL.INSPOSE.BOXES", True), [0, 0, 1, 2]), (RELEASED, [0, 0, 1, 2])],
)
def test_two_processes_are_one_on_the_joined_batch(overrides: tuple, people: list[int]) -> None:
    two_processes_are_one("inspose_oracle", overrides, people)
