"""Keys that have a few known values, and the one form of error for all others."""

import pytest
from detectron2.config import CfgNode

from posecore.config.options import choice, choices

FUNCTIONS = {"min": min, "max": max}


def cfg(value):
    return CfgNode({"TEST": {"MERGE": value}})


def test_a_value_stands_for_its_option():
    assert choice(cfg("max"), "TEST.MERGE", FUNCTIONS) is max


def test_an_unknown_value_names_the_key_and_all_options():
    with pytest.raises(ValueError, match=r"^TEST\.MERGE must be one of 'min', 'max', not 'mean'$"):
        choice(cfg("mean"), "TEST.MERGE", FUNCTIONS)


def test_a_list_of_values_stands_for_its_options_in_order():
    assert choices(cfg(("max", "min")), "TEST.MERGE", FUNCTIONS) == (max, min)


def test_a_list_with_an_unknown_value_or_none_at_all():
    with pytest.raises(ValueError, match=r"^TEST\.MERGE must hold only 'min', 'max', not 'mean'$"):
        choices(cfg(("max", "mean")), "TEST.MERGE", FUNCTIONS)
    with pytest.raises(
        ValueError, match=r"^TEST\.MERGE must hold one or more of 'min', 'max', but it is empty$"
    ):
        choices(cfg(()), "TEST.MERGE", FUNCTIONS)
