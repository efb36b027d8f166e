"""The deformable convolution by gathers, which exported models have, is torchvision's."""

import pytest
import torch
from torch.testing import assert_close

from posecore.ops import deform_conv2d
from posecore.ops.deform_conv import deform_conv2d_reference


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("spread", [0.0, 1.0, 10.0])
def test_the_reference_is_torchvisions(side, spread):
    maps, weight = torch.randn(2, 3, 5, 7), torch.randn(4, 3, side, side)
    offsets = spread * torch.randn(2, 2 * side**2, 5, 7)
    expected = deform_conv2d(maps, offsets, weight)
    assert expected.shape == (2, 4, 5, 7)
    assert_close(deform_conv2d_reference(maps, offsets, weight), expected, atol=1e-4, rtol=1e-4)
