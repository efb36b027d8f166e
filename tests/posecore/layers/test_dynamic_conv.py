"""Generated convolutions against one plain network per instance."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from posecore.layers.dynamic_conv import DynamicConv


def one_by_one(widths: tuple[int, ...], own: Tensor, shared: Tensor, parameters: Tensor) -> Tensor:
    """The slow form: for each instance, F.conv2d with weights cut from its row by hand."""
    results = []
    for maps, row in zip(own, parameters, strict=True):
        maps = torch.cat([maps, shared])[None]
        at = 0
        for layer, (before, after) in enumerate(pairwise(widths)):
            weight = row[at : at + before * after].reshape(after, before, 1, 1)
            bias = row[at + before * after : at + before * after + after]
            at += before * after + after
            maps = F.conv2d(F.relu(maps) if layer else maps, weight, bias)
        assert at == len(row)
        results.append(maps[0])
    return torch.stack(results) if results else own.new_zeros(0, widths[-1], *shared.shape[1:])


def inputs(widths: tuple[int, ...], count: int, num_own: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    size = (3, 5)
    own = torch.randn(count, num_own, *size, dtype=torch.float64)
    shared = torch.randn(widths[0] - num_own, *size, dtype=torch.float64)
    rows = torch.randn(count, DynamicConv(widths).num_parameters, dtype=torch.float64)
    return own, shared, rows


@pytest.mark.parametrize(
    ("widths", "expected"),
    [((34, 32, 32, 17), 2737), ((10, 8, 8, 17), 313), ((4, 3), 15), ((34, 32, 32, 32, 17), 3793)],
)
def test_the_number_of_parameters_follows_from_the_widths(widths: tuple[int, ...], expected: int) -> None:
    assert DynamicConv(widths).num_parameters == expected


@pytest.mark.parametrize("widths", [(6, 5), (6, 4, 3), (6, 4, 4, 3), (6, 4, 4, 4, 3)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_instance_has_its_own_network(widths: tuple[int, ...], count: int) -> None:
    own, shared, rows = inputs(widths, count)
    result = DynamicConv(widths)(own, shared, rows)
    assert result.shape == (count, widths[-1], 3, 5)
    assert_close(result, one_by_one(widths, own, shared, rows))


def test_instances_may_have_no_maps_of_their_own() -> None:
    own, shared, rows = inputs((6, 4, 3), 2, num_own=0)
    assert_close(DynamicConv((6, 4, 3))(own, shared, rows), one_by_one((6, 4, 3), own, shared, rows))


def test_gradients() -> None:
    own, shared, rows = inputs((4, 3, 2), 2)
    assert gradcheck(DynamicConv((4, 3, 2)), [value.requires_grad_() for value in (own, shared, rows)])


def test_a_stack_needs_two_widths() -> None:
    with pytest.raises(ValueError, match=r"input and an output.*\(34,\)"):
        DynamicConv((34,))
