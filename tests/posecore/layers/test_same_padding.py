"""Fixed "SAME" padding is timm's where the stride divides the size, and ends with its context."""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.testing import assert_close

from posecore.layers.same_padding import fixed_same_padding


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_padding_is_timms(kernel, stride):
    model = nn.Sequential(Conv2dSame(3, 4, kernel, stride=stride), Conv2dSame(4, 2, kernel, stride=stride))
    images = torch.randn(2, 3, 8, 12)
    expected = model(images)
    with fixed_same_padding(model):
        assert type(model[0]) is not Conv2dSame
        assert_close(model(images), expected)
    assert type(model[0]) is Conv2dSame
