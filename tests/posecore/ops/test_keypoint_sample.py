"""keypoint_sample against cases made by hand, its slow reference and grid_sample; and as an operator."""

import importlib
import sys

import pytest
import torch
import torch.nn.functional as F
from helpers.operators import DEVICES, TYPES, assert_all_close, needs_cuda
from hypothesis import given, settings
from hypothesis import strategies as st

import posecore.ops
from posecore.ops import keypoint_sample
from posecore.ops.keypoint_sample import keypoint_sample_reference

FORMATS = [torch.contiguous_format, torch.channels_last]


def example(
    num_images=2, groups=3, group_channels=4, height=5, width=7, rows=40, dtype=torch.float32, device="cpu"
):
    """Maps, points on, around and beyond them, and an image for each row."""
    value = torch.randn(num_images, groups * group_channels, height, width, dtype=torch.float64)
    size = torch.tensor([width, height], dtype=torch.float64)
    points = torch.rand(rows, groups, 2, dtype=torch.float64) * (size + 3) - 1.5
    images = torch.randint(0, num_images, (rows,))
    point_type = torch.float64 if dtype == torch.float64 else torch.float32
    return value.to(device, dtype), points.to(device, point_type), images.to(device)


def with_gradients(function, value, points, images, weight=None):
    """The result and both gradients of sum(weight * result)."""
    value, points = value.detach().requires_grad_(), points.detach().requires_grad_()
    result = function(value, points, images)
    weight = torch.ones_like(result) if weight is None else weight
    return result.detach(), *torch.autograd.grad(result, (value, points), weight)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_reads_between_the_centers_of_cells(device, memory_format):
    # 10 * row + column makes the position readable in the value.
    value = (10 * torch.arange(3.0)[:, None] + torch.arange(4.0)).expand(1, 1, 3, 4)
    value = value.to(device).contiguous(memory_format=memory_format)
    yx = torch.tensor([[0, 0], [2, 3], [0.5, 0.25], [-0.5, 3.5], [-1.25, 0], [3, 1], [-1, 2], [1, -0.25]])
    points = (yx.flip(-1) + 0.5)[:, None].to(device)
    result = keypoint_sample(value, points, torch.zeros(len(yx), dtype=torch.int64, device=device))
    assert result.squeeze(1).tolist() == [0, 23, 5.25, 0.75, 0, 0, 0, 7.5]


def test_each_group_reads_its_own_channels_at_its_own_point_of_its_own_image():
    value = torch.arange(2 * 6 * 2 * 2.0).view(2, 6, 2, 2)
    points = torch.tensor([[[0.5, 0.5], [1.5, 1.5]], [[1.5, 0.5], [0.5, 1.5]]])
    result = keypoint_sample(value, points, torch.tensor([1, 0]))
    first = [*value[1, :3, 0, 0], *value[1, 3:, 1, 1]]
    second = [*value[0, :3, 0, 1], *value[0, 3:, 1, 0]]
    assert result.tolist() == [first, second]


@settings(max_examples=60, deadline=None)
@given(
    num_images=st.integers(1, 3),
    groups=st.integers(1, 4),
    group_channels=st.integers(1, 19),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    rows=st.integers(0, 60),
    dtype=st.sampled_from(TYPES),
    memory_format=st.sampled_from(FORMATS),
)
def test_equals_the_reference(num_images, groups, group_channels, height, width, rows, dtype, memory_format):
    torch.manual_seed(0)
    value, points, images = example(num_images, groups, group_channels, height, width, rows, dtype)
    value = value.contiguous(memory_format=memory_format)
    weight = torch.randn(rows, groups * group_channels).to(dtype)
    actual = with_gradients(keypoint_sample, value, points, images, weight)
    # The reference rounds where the kernels do: the result and the gradient of value, at their ends.
    precise = value.double(), points.double(), images, weight.double()
    result, grad_value, grad_points = with_gradients(keypoint_sample_reference, *precise)
    expected = result.to(dtype), grad_value.to(dtype), grad_points.to(points.dtype)
    assert_all_close(actual, expected, dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("group_channels", [2, 16, 40])
@pytest.mark.parametrize("dtype", TYPES)
def test_equals_the_reference_where_every_cell_is_read(device, memory_format, group_channels, dtype):
    value, points, images = example(2, 2, group_channels, 30, 20, 2400, dtype)
    weight = torch.randn(len(points), value.shape[1]).to(dtype)
    maps = value.to(device).contiguous(memory_format=memory_format)
    actual = with_gradients(keypoint_sample, maps, points.to(device), images.to(device), weight.to(device))
    precise = value.double(), points.double(), images, weight.double()
    result, grad_value, grad_points = with_gradients(keypoint_sample_reference, *precise)
    expected = result.to(dtype), grad_value.to(dtype), grad_points.to(points.dtype)
    assert_all_close([tensor.cpu() for tensor in actual], expected, dtype)


@pytest.mark.parametrize("device", DEVICES)
def test_equals_grid_sample(device):
    value, points, _ = example(1, 1, 5, 6, 4, 200, torch.float64, device)
    images = torch.zeros(200, dtype=torch.int64, device=device)

    def by_grid_sample(value, points, images):
        grid = 2 * points / points.new_tensor([4, 6]) - 1
        sampled = F.grid_sample(value, grid[None], mode="bilinear", padding_mode="zeros", align_corners=False)
        return sampled[0, :, :, 0].t()

    weight = torch.randn(200, 5, dtype=torch.float64, device=device)
    actual = with_gradients(keypoint_sample, value, points, images, weight)
    assert_all_close(actual, with_gradients(by_grid_sample, value, points, images, weight), torch.float64)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradcheck(device, memory_format):
    value, points, images = example(2, 2, 3, 3, 4, 9, torch.float64, device)
    value = value.contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradcheck(keypoint_sample, (value, points.requires_grad_(), images))


@pytest.mark.parametrize("wanted", [0, 1])
def test_differentiating_twice_raises(wanted):
    value, points, images = example()
    inputs = value.requires_grad_(), points.requires_grad_()
    (gradient,) = torch.autograd.grad(
        keypoint_sample(*inputs, images).square().sum(), inputs[wanted], create_graph=True
    )
    with pytest.raises(RuntimeError, match="keypoint_sample cannot be differentiated twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_what_needs_a_gradient_gets_one(wanted):
    value, points, images = example()
    value.requires_grad_(wanted[0])
    points.requires_grad_(wanted[1])
    keypoint_sample(value, points, images).sum().backward()
    assert (value.grad is not None, points.grad is not None) == wanted


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "part of the channels"])
@pytest.mark.parametrize("dtype", TYPES)
def test_opcheck(device, layout, dtype):
    value, points, images = example(1, 2, 8, 3, 4, 20, dtype, device)
    if layout == "channels_last":
        value = value.contiguous(memory_format=torch.channels_last)
    elif layout == "part of the channels":
        value = torch.cat([value, value], dim=1)[:, 3:19]
    inputs = value.requires_grad_(), points.requires_grad_(), images
    torch.library.opcheck(torch.ops.posecore.keypoint_sample, inputs)
    grad = torch.randn(len(points), value.shape[1], device=device).to(dtype)
    inputs = grad, value.detach(), points.detach(), images
    torch.library.opcheck(torch.ops.posecore.keypoint_sample_grad_value, inputs)
    torch.library.opcheck(torch.ops.posecore.keypoint_sample_grad_points, inputs)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_a_break(device):
    inputs = example(device=device)

    def function(value, points, images):
        return keypoint_sample(2 * value, points + 0.25, images).sin()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_all_close(with_gradients(compiled, *inputs), with_gradients(function, *inputs), torch.float32)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert compiled(*inputs).dtype == torch.bfloat16


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_values_and_never_points(device, dtype):
    # bfloat16 knows no number between 128 and 129, float16 none between 128 and 128.125.
    value = torch.arange(200.0, device=device).expand(1, 1, 1, 200) - 128
    points = torch.tensor([[[128.5625, 0.5]]], device=device)
    images = torch.zeros(1, dtype=torch.int64, device=device)
    value, points = value.clone().requires_grad_(), points.requires_grad_()
    with torch.autocast(device, dtype=dtype):
        result = keypoint_sample(value, points, images)
        from_half = keypoint_sample(value.to(dtype), points.double(), images)
    assert result.dtype == from_half.dtype == dtype
    assert result.item() == from_half.item() == 0.0625
    result.backward()
    assert value.grad.dtype == points.grad.dtype == torch.float32
    assert points.grad.tolist() == [[[1, -0.0625]]]  # by y: towards the zeros below


def test_autocast_leaves_float64_alone():
    value, points, images = example(dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(keypoint_sample(value, points, images), keypoint_sample(value, points, images))
        assert keypoint_sample(value, points, images).dtype == torch.float64


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 2.0**31, -(2.0**31)])
def test_points_beyond_every_map_read_zero(device, memory_format, bad):
    value, points, images = example(device=device)
    value = value.contiguous(memory_format=memory_format)
    spoilt = points.clone()
    spoilt[3, 1, 0] = spoilt[5, 0, 1] = bad
    result, grad_value, grad_points = with_gradients(keypoint_sample, value, spoilt, images)
    assert result[3, 4:8].tolist() == result[5, 0:4].tolist() == [0, 0, 0, 0]
    assert grad_points[3, 1].tolist() == grad_points[5, 0].tolist() == [0, 0]
    assert grad_value.isfinite().all()
    others = keypoint_sample(value, points, images)
    assert torch.equal(result[3, :4], others[3, :4])
    assert torch.equal(result[6:], others[6:])
    torch.testing.assert_close(result, keypoint_sample_reference(value, spoilt, images))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_cells_around_the_map_are_zeros_whatever_lies_in_memory(device, memory_format):
    value = torch.full((1, 8, 3, 3), float("nan"), device=device).contiguous(memory_format=memory_format)
    value[:, :, 0, 0] = 1
    # The second point is a whole cell left of the first column's centers: the column no longer counts.
    points = torch.tensor([[[0.25, 0.25]], [[-0.5, 1.5]]], device=device)
    images = torch.zeros(2, dtype=torch.int64, device=device)
    result, grad_value, grad_points = with_gradients(keypoint_sample, value, points, images)
    assert result.tolist() == [[0.5625] * 8, [0] * 8]
    assert grad_value.sum(dim=1).tolist() == [[[4.5, 0, 0], [0, 0, 0], [0, 0, 0]]]
    assert grad_points.tolist() == [[[6, 6]], [[0, 0]]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    ("num_images", "groups", "group_channels", "height", "width", "rows"),
    [
        (2, 3, 4, 5, 6, 0),
        (0, 3, 4, 5, 6, 0),
        (1, 1, 1, 1, 1, 9),
        (1, 17, 2, 1, 8, 5),
        (2, 2, 0, 3, 3, 4),
        (1, 2, 3, 0, 4, 5),
        (1, 2, 8, 0, 4, 5),
    ],
)
def test_empty_and_least_sizes(
    device, memory_format, num_images, groups, group_channels, height, width, rows
):
    value = torch.randn(num_images, groups * group_channels, height, width, device=device)
    value = value.contiguous(memory_format=memory_format)
    points = torch.rand(rows, groups, 2, device=device) * 3 - 1
    images = torch.zeros(rows, dtype=torch.int64, device=device)
    result, grad_value, grad_points = with_gradients(keypoint_sample, value, points, images)
    assert result.shape == (rows, groups * group_channels)
    assert grad_value.shape == value.shape
    assert grad_points.shape == points.shape
    if value.numel():
        torch.testing.assert_close(result, keypoint_sample_reference(value, points, images))
    else:
        assert not result.any()
        assert not grad_points.any()


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_of_any_layout_are_read_and_left_alone(device):
    value, points, images = example(2, 2, 8, 6, 9, 30, device=device)
    expected = with_gradients(keypoint_sample, value, points, images)
    inputs = {
        "maps turned": value.transpose(2, 3).contiguous().transpose(2, 3),
        "every other channel": value.repeat_interleave(2, dim=1)[:, ::2],
        "every other column": value.repeat_interleave(2, dim=3)[..., ::2],
        "one of channels_last": torch.cat([value, value], 1).contiguous(memory_format=torch.channels_last)[
            :, :16
        ],
    }
    other_points = points.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    other_images = images.repeat_interleave(3)[::3]
    for layout, maps in inputs.items():
        copies = [tensor.clone() for tensor in (maps, other_points, other_images)]
        actual = with_gradients(keypoint_sample, maps, other_points, other_images)
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, msg=layout)
        for tensor, copy in zip((maps, other_points, other_images), copies, strict=True):
            assert torch.equal(tensor, copy), layout


def test_expanded_maps_and_gradients():
    value, points, images = example(1)
    maps = value.expand(2, -1, -1, -1)
    assert torch.equal(keypoint_sample(maps, points, images), keypoint_sample(value, points, images))
    # The gradient of a plain sum is one number, expanded.
    _, grad_value, _ = with_gradients(keypoint_sample, maps, points, images)
    assert torch.equal(grad_value[0], with_gradients(keypoint_sample, value, points, images)[1][0])
    assert not grad_value[1].any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("rows", [10, 2400])
def test_gradient_of_value_has_its_memory_format(device, memory_format, dtype, rows):
    value, points, images = example(2, 2, 16, 30, 20, rows, dtype, device)
    value = value.contiguous(memory_format=memory_format).requires_grad_()
    result = keypoint_sample(value, points, images)
    assert result.is_contiguous()
    result.sum().backward()
    assert value.grad.dtype == dtype
    assert value.grad.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_half_precision_are_summed_in_single(device, dtype):
    # Added one by one in these types, ones stop counting at 256 and at 2048.
    value = torch.zeros(1, 1, 1, 1, dtype=dtype, device=device, requires_grad=True)
    points = torch.full((4096, 1, 2), 0.5, device=device)
    keypoint_sample(value, points, torch.zeros(4096, dtype=torch.int64, device=device)).sum().backward()
    assert value.grad.item() == 4096


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("groups", "group_channels"), [(3, 50), (75, 2)])
def test_the_number_of_threads_changes_no_bit(memory_format, groups, group_channels):
    # Enough numbers for each thread to be worth it.
    value, points, images = example(3, groups, group_channels, 30, 20, 4000)
    value = value.contiguous(memory_format=memory_format)
    weight = torch.randn(len(points), value.shape[1])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(with_gradients(keypoint_sample, value, points, images, weight))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_large_results_are_right(memory_format):
    # Above 8 MiB, from where the CPU asks for huge pages.
    value, points, images = example(1, 1, 64, 200, 200, 40_000)
    value = value.contiguous(memory_format=memory_format)
    actual = with_gradients(keypoint_sample, value, points, images)
    expected = with_gradients(keypoint_sample_reference, value, points, images)
    assert_all_close(actual, expected, torch.float32)


def refused():
    value, points, images = example()
    return {
        "value must be (N, C, H, W)": (value[0], points, images),
        "points must be (Q, G, 2)": (value, points[..., :1], images),
        "points must be (Q, G, 2), got [40, 6]": (value, points.flatten(1), images),
        "images must be (Q,) with Q = 40": (value, points, images[:-1]),
        "the 11 channels of value do not split into the 3 groups": (value[:, :11], points, images),
        "do not split into the 0 groups": (value, points[:, :0], images),
        "points must be Float where value is Float, got Double": (value, points.double(), images),
        "points must be Float where value is Half, got Half": (value.half(), points.half(), images),
        "points must be Double where value is Double, got Float": (value.double(), points, images),
        "images must be Long, got Int": (value, points, images.int()),
        "not implemented for 'Int'": (value.int(), points, images),
    }


@pytest.mark.parametrize("message", refused())
def test_refuses_what_does_not_fit(message):
    inputs = refused()[message]
    with pytest.raises((RuntimeError, NotImplementedError)) as error:
        keypoint_sample(*inputs)
    assert message in str(error.value)


@pytest.mark.parametrize("image", [-1, 2])
def test_refuses_images_that_do_not_exist(image):
    value, points, images = example(num_images=2)
    images[7] = image
    with pytest.raises(IndexError, match=rf"images\[7\] is {image}, but value has 2 images"):
        keypoint_sample(value, points, images)


def test_says_how_to_compile_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "posecore._C", None)
    with pytest.raises(ImportError, match="make setup"):
        importlib.reload(posecore.ops)


@needs_cuda
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("group_channels", [1, 2, 5, 64])
def test_cuda_equals_cpu(memory_format, dtype, group_channels):
    value, points, images = example(3, 4, group_channels, 17, 11, 900, dtype)
    value = value.contiguous(memory_format=memory_format)
    weight = torch.randn(900, value.shape[1]).to(dtype)
    expected = with_gradients(keypoint_sample, value, points, images, weight)
    actual = with_gradients(keypoint_sample, value.cuda(), points.cuda(), images.cuda(), weight.cuda())
    assert_all_close([tensor.cpu() for tensor in actual], expected, dtype)


@needs_cuda
def test_refuses_two_devices():
    value, points, images = example()
    with pytest.raises(RuntimeError, match="must be on one device, got cuda:0, cpu and cpu"):
        keypoint_sample(value.cuda(), points, images)


@needs_cuda
def test_cuda_says_that_its_gradient_of_value_varies(monkeypatch):
    value, points, images = example(device="cuda")
    result = keypoint_sample(value.requires_grad_(), points, images)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="keypoint_sample_grad_value"):
            result.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
