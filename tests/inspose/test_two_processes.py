"""A step of two processes is the step of one on their joined batch, also when one has no person."""

import pytest
from helpers.model_contract import two_processes_are_one

OFFICIAL = ("MODEL.META_ARCHITECTURE", "InsPoseOfficial")


@pytest.mark.parametrize(
    ("overrides", "people"),
    [((), [2, 1, 3, 2]), (("MODEL.INSPOSE.BOXES", True), [0, 0, 1, 2]), (OFFICIAL, [0, 0, 1, 2])],
)
def test_two_processes_are_one_on_the_joined_batch(overrides: tuple, people: list[int]) -> None:
    two_processes_are_one("helpers.inspose_oracle", overrides, people)
