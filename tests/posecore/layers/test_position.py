"""Sine encodings: the published numbers, and their conventions."""

import math
from pathlib import Path

import pytest
import torch
from helpers.oracles import arrays
from torch.testing import assert_close

from posecore.layers.position import (
    added,
    encode_cells,
    encode_points,
    in_place,
    inverse_sigmoid,
    sine_encoding,
)


def test_published_numbers(shared: Path) -> None:
    golden = arrays(shared / "oracles/poet/case_a/outputs.npz")
    assert_close(encode_cells(golden["mask"], 256), golden["pos"], atol=3e-6, rtol=1e-5)


def test_sines_and_cosines_take_turns() -> None:
    angle = torch.tensor([0.0, 1.0])
    expected = torch.stack([angle.sin(), angle.cos(), (angle / 100).sin(), (angle / 100).cos()], dim=1)
    assert_close(sine_encoding(angle, 4), expected)


def test_points_have_x_first() -> None:
    encoding = encode_points(torch.tensor([[0.25, 0.5]]), 8)
    assert_close(encoding[:, :4], sine_encoding(torch.tensor([math.pi / 2]), 4))
    assert_close(encoding[:, 4:], sine_encoding(torch.tensor([math.pi]), 4))


def test_points_may_lie_outside() -> None:
    assert encode_points(torch.tensor([[-1.5, 7.0]]), 64).isfinite().all()


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_cells_have_y_first(offset: float) -> None:
    encoding = encode_cells(torch.zeros(1, 3, 5, dtype=torch.bool), 16, offset=offset)
    assert encoding.shape == (1, 16, 3, 5)
    rows = (torch.arange(1, 4) + offset) / (3 + 1e-6) * 2 * math.pi
    columns = (torch.arange(1, 6) + offset) / (5 + 1e-6) * 2 * math.pi
    assert_close(encoding[0, :8, :, 2].T, sine_encoding(rows, 8))
    assert_close(encoding[0, 8:, 1].T, sine_encoding(columns, 8))


def test_padding_does_not_count() -> None:
    padding = torch.ones(2, 6, 8, dtype=torch.bool)
    padding[0, :4, :5] = False
    padding[1] = False
    encoding = encode_cells(padding, 32)
    assert_close(encoding[0, :, :4, :5], encode_cells(torch.zeros(1, 4, 5, dtype=torch.bool), 32)[0])
    assert encoding.isfinite().all()


def test_half_precision_changes_nothing() -> None:
    padding = torch.zeros(1, 6, 8, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encode_cells(padding, 32), encode_cells(padding.clone(), 32))
    assert encode_points(torch.rand(3, 2, dtype=torch.bfloat16), 32).dtype == torch.float32


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the channels of an axis must be even, .*not 3"):
        encode_points(torch.rand(2, 2), 6)


def test_another_temperature_turns_at_another_pace() -> None:
    angle = torch.tensor([1.0])
    expected = torch.stack(
        [angle.sin(), angle.cos(), (angle / 20**0.5).sin(), (angle / 20**0.5).cos()], dim=1
    )
    assert_close(sine_encoding(angle, 4, temperature=20.0), expected)
    padding = torch.zeros(1, 2, 3, dtype=torch.bool)
    assert not torch.equal(encode_cells(padding, 16), encode_cells(padding, 16, temperature=20.0))


def test_inverse_sigmoid_ends_near_the_borders() -> None:
    values = torch.tensor([0.0, 5e-4, 1e-3, 0.25, 0.999, 1.0], requires_grad=True)
    logits = inverse_sigmoid(values)
    nearest = math.log(1e-3 / (1 - 1e-3))
    assert_close(logits[2:5], torch.tensor([nearest, math.log(1 / 3), -nearest]), atol=1e-4, rtol=1e-4)
    assert_close(logits[[0, 5]], torch.tensor([math.log(1e-3), -math.log(1e-3)]))
    logits.sum().backward()
    # Beyond the limit one half of the gradient remains.
    assert values.grad[1].item() == pytest.approx(1 / (1 - 5e-4))
    assert values.grad[3].item() == pytest.approx(4 + 4 / 3)
    assert inverse_sigmoid(torch.rand(3, dtype=torch.bfloat16)).dtype == torch.float32


def test_where_positions_are_added() -> None:
    tokens, positions = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    query, values = added(tokens, positions)
    assert torch.equal(query, tokens + positions)
    assert torch.equal(values, tokens)
    query, values = in_place(tokens, positions)
    assert torch.equal(query, values)
    assert torch.equal(values, tokens + positions)
