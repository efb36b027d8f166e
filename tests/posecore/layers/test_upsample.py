"""Aligned enlargement: the published numbers, and what they mean."""

from pathlib import Path

import pytest
import torch
from helpers.oracles import arrays, load_fill
from torch.testing import assert_close

from posecore.layers.upsample import aligned_upsample


@pytest.mark.parametrize("factor", [2, 4])
def test_published_numbers(shared: Path, factor: int) -> None:
    maps = torch.from_numpy(load_fill(shared).normal("fcpose/unit/aligned_bilinear", (1, 2, 4, 5)))
    expected = arrays(shared / "oracles/fcpose/unit/outputs.npz")[f"aligned_bilinear_x{factor}"]
    assert_close(aligned_upsample(maps, factor), expected, atol=9.7e-6, rtol=0)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_cells_keep_their_values_at_their_place(factor: int) -> None:
    maps = torch.randn(2, 3, 4, 5)
    large = aligned_upsample(maps, factor)
    assert large.shape == (2, 3, 4 * factor, 5 * factor)
    assert_close(large[:, :, factor // 2 :: factor, factor // 2 :: factor], maps)


def test_a_ramp_stays_a_ramp() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 4, 5)
    inside = aligned_upsample(ramp, 4)[0, 0, 0, 2:-4]
    assert_close(inside.diff(), torch.full_like(inside[1:], 0.25))
