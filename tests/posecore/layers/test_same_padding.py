"""Fixed "SAME" padding is timm's where the stride divides the size, and ends with its context.

For compilation it is fixed there alone, and the sizes of compiled maps are short formulas.
"""

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.testing import assert_close

from posecore.layers.same_padding import fix_divisible_same_padding, fixed_same_padding
from posecore.modeling.build import compile_dense_modules


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


@pytest.mark.parametrize("size", [(8, 12), (7, 12), (8, 9), (5, 3)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_what_is_compiled_computes_the_same_for_all_sizes(size, kernel):
    model = nn.Sequential(Conv2dSame(3, 4, kernel, stride=2), Conv2dSame(4, 2, kernel, stride=2))
    images = torch.randn(2, 3, *size)
    expected = model(images)
    fix_divisible_same_padding(model)
    assert_close(model(images), expected, rtol=0, atol=0)
    with fixed_same_padding(model):
        exported = type(model[0])
    assert type(model[0]) is not exported


def test_the_sizes_of_compiled_maps_are_short_formulas():
    """With timm's own padding the formulas grow with each convolution."""
    sizes = []

    def backend(graph, _):
        values = [node.meta.get("example_value") for node in graph.graph.nodes]
        sizes.extend(str(value.shape) for value in values if isinstance(value, torch.Tensor))
        return graph.forward

    torch._dynamo.reset()
    model = nn.Module()
    model.backbone = nn.Sequential(*(Conv2dSame(3, 3, 3, stride=2, bias=False) for _ in range(3)))
    compile_dense_modules(model, backend)
    expected = model.backbone(torch.ones(2, 3, 32, 48)).shape
    assert expected == (2, 3, 4, 6)
    assert len(sizes) > 6
    assert max(map(len, sizes)) < 200
