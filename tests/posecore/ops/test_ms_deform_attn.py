"""ms_deform_attn against cases made by hand, its slow reference and grid_sample; and as an operator."""

import pytest
import torch
import torch.nn.functional as F
from helpers.operators import DEVICES, TYPES, assert_all_close, needs_cuda
from hypothesis import given, settings
from hypothesis import strategies as st

from posecore.ops import ms_deform_attn
from posecore.ops.ms_deform_attn import ms_deform_attn_reference

SHAPES = [(5, 7), (3, 2), (1, 1)]


def example(
    shapes=SHAPES,
    images=2,
    groups=2,
    channels=4,
    queries=6,
    heads=4,
    points=3,
    dtype=torch.float32,
    device="cpu",
):
    """Levels, points on, around and beyond them, and weights of either sign."""
    places = (images, queries, heads, len(shapes), points)
    value = torch.randn(images, sum(h * w for h, w in shapes), groups, channels, dtype=torch.float64)
    locations = torch.rand(*places, 2, dtype=torch.float64) * 1.8 - 0.4
    weights = torch.randn(*places, dtype=torch.float64)
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    return value.to(device, dtype), shapes, locations.to(device, precise), weights.to(device, precise)


def with_gradients(function, value, shapes, locations, weights, grad=None):
    """The result and the three gradients of sum(grad * result)."""
    inputs = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    result = function(inputs[0], shapes, *inputs[1:])
    grad = torch.ones_like(result) if grad is None else grad
    return result.detach(), *torch.autograd.grad(result, inputs, grad)


def exact(value, shapes, locations, weights, grad):
    """What :func:`with_gradients` should give: computed in double precision and rounded at the end."""
    precise = value.double(), shapes, locations.double(), weights.double(), grad.double()
    result, grad_value, *grad_points = with_gradients(ms_deform_attn_reference, *precise)
    return [
        *(tensor.to(value.dtype) for tensor in (result, grad_value)),
        *(tensor.to(locations.dtype) for tensor in grad_points),
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_reads_levels_where_locations_say(device):
    # Level 0 has 100 + 10 * row + column, level 1 a single cell.
    first = 100 + 10 * torch.arange(2.0)[:, None] + torch.arange(4.0)
    value = torch.cat([first.flatten(), torch.tensor([7.0])]).view(1, 9, 1, 1).to(device)
    cases = {
        # Both levels of one query: x, y, weight, x, y, weight -> result.
        (0.125, 0.25, 1, 0.5, 0.5, 0): 100,  # the center of the first cell
        (0.875, 0.75, 1, 0.5, 0.5, 1): 113 + 7,
        (0.25, 0.5, 2, 0.5, 0.5, 0): 2 * 105.5,  # between four
        (0.0, 0.25, 1, 0.0, 0.5, 1): 50 + 3.5,  # on the left edge, half of what is read is outside
        (0.5, 1.0, -1, 1.0, 1.0, 4): -55.75 + 7,
        (-0.125, 0.25, 1, 1.5, 0.5, 1): 0,  # as far outside as a cell reaches
    }
    numbers = torch.tensor([*cases], device=device).view(1, -1, 1, 2, 1, 3)
    result = ms_deform_attn(value, [(2, 4), (1, 1)], numbers[..., :2], numbers[..., 2])
    assert result.flatten().tolist() == [*cases.values()]


def test_heads_read_their_groups():
    # One level of one cell: a head reads the numbers of its group.
    value = torch.arange(6.0).view(1, 1, 3, 2)
    locations, weights = torch.full((1, 1, 6, 1, 1, 2), 0.5), torch.ones(1, 1, 6, 1, 1)
    own = ms_deform_attn(value, [(1, 1)], locations[:, :, :3], weights[:, :, :3])
    assert own.tolist() == [[[[0, 1], [2, 3], [4, 5]]]]
    pairs = ms_deform_attn(value, [(1, 1)], locations, weights)
    assert pairs.tolist() == [[[[0, 1], [0, 1], [2, 3], [2, 3], [4, 5], [4, 5]]]]
    shared = ms_deform_attn(value[:, :, 1:2], [(1, 1)], locations, weights)
    assert shared.tolist() == [[[[2, 3]] * 6]]


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    images=st.integers(1, 3),
    groups=st.integers(1, 3),
    heads_per_group=st.integers(1, 3),
    channels=st.integers(1, 37),
    queries=st.integers(0, 7),
    points=st.integers(1, 5),
    dtype=st.sampled_from(TYPES),
)
def test_equals_the_reference(shapes, images, groups, heads_per_group, channels, queries, points, dtype):
    torch.manual_seed(0)
    heads = groups * heads_per_group
    inputs = example(shapes, images, groups, channels, queries, heads, points, dtype)
    grad = torch.randn(images, queries, heads, channels).to(dtype)
    assert_all_close(with_gradients(ms_deform_attn, *inputs, grad), exact(*inputs, grad), dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("groups", "channels"), [(8, 32), (1, 256), (2, 5), (4, 8)])
def test_equals_the_reference_at_usual_widths(device, groups, channels, dtype):
    shapes = [(16, 12), (8, 6), (4, 3), (2, 2)]
    inputs = example(shapes, 2, groups, channels, queries=17, heads=8, points=4, dtype=dtype)
    grad = torch.randn(2, 17, 8, channels).to(dtype)
    value, _, locations, weights = inputs
    moved = value.to(device), shapes, locations.to(device), weights.to(device), grad.to(device)
    actual = with_gradients(ms_deform_attn, *moved)
    assert_all_close([tensor.cpu() for tensor in actual], exact(*inputs, grad), dtype)


@pytest.mark.parametrize("groups", [1, 4])
def test_equals_grid_sample(groups):
    value, shapes, locations, weights = example(groups=groups, dtype=torch.float64)

    def by_grid_sample(value, shapes, locations, weights):
        value = value.expand(-1, -1, 4, -1) if groups == 1 else value
        levels = value.split([height * width for height, width in shapes], dim=1)
        total = 0
        for level, (cells, shape) in enumerate(zip(levels, shapes, strict=True)):
            maps = cells.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, shape)  # (N * H, C, H_l, W_l)
            grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (N * H, Q, P, 2)
            read = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
            read = read.unflatten(0, (2, 4)).permute(0, 3, 1, 4, 2)  # (N, Q, H, P, C)
            total = total + (weights[:, :, :, level, :, None] * read).sum(dim=3)
        return total

    grad = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    inputs = value, shapes, locations, weights, grad
    assert_all_close(
        with_gradients(ms_deform_attn, *inputs), with_gradients(by_grid_sample, *inputs), torch.float64
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("groups", "channels"), [(1, 3), (2, 3), (4, 2)])
def test_gradcheck(device, groups, channels):
    value, shapes, *others = example(
        groups=groups, channels=channels, queries=2, points=2, dtype=torch.float64, device=device
    )
    inputs = [tensor.requires_grad_() for tensor in (value, *others)]
    assert torch.autograd.gradcheck(lambda value, *rest: ms_deform_attn(value, shapes, *rest), inputs)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_differentiating_twice_raises(wanted):
    value, shapes, locations, weights = example()
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    result = ms_deform_attn(inputs[0], shapes, *inputs[1:])
    (gradient,) = torch.autograd.grad(result.square().sum(), inputs[wanted], create_graph=True)
    with pytest.raises(RuntimeError, match="ms_deform_attn cannot be differentiated twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("wanted", range(3))
def test_only_what_needs_a_gradient_gets_one(wanted):
    value, shapes, locations, weights = example()
    inputs = value, locations, weights
    inputs[wanted].requires_grad_()
    ms_deform_attn(value, shapes, locations, weights).sum().backward()
    assert [tensor.grad is not None for tensor in inputs] == [index == wanted for index in range(3)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", ["contiguous", "channels apart", "part of the channels"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(device, layout, dtype):
    value, shapes, *others = example(channels=8, queries=3, dtype=dtype, device=device)
    if layout == "channels apart":
        value = value.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    elif layout == "part of the channels":
        value = torch.cat([value, value], dim=3)[..., 3:11]
    sides = [side for shape in shapes for side in shape]
    inputs = [tensor.detach().requires_grad_() for tensor in (value, *others)]
    torch.library.opcheck(torch.ops.posecore.ms_deform_attn, (inputs[0], sides, *inputs[1:]))
    grad = torch.randn(2, 3, 4, 8, device=device).to(dtype)
    inputs = grad, value, sides, *others
    torch.library.opcheck(torch.ops.posecore.ms_deform_attn_grad_value, inputs)
    torch.library.opcheck(torch.ops.posecore.ms_deform_attn_grad_points, inputs)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_a_break(device):
    inputs = example(device=device)

    def function(value, shapes, locations, weights):
        return ms_deform_attn(2 * value, shapes, locations + 0.25, weights).sin()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_all_close(with_gradients(compiled, *inputs), with_gradients(function, *inputs), torch.float32)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert compiled(*inputs).dtype == torch.bfloat16


class Reader(torch.nn.Module):
    """Two levels as maps, read at given places."""

    def forward(self, fine, coarse, locations, weights):
        value = torch.cat([level.flatten(2) for level in (fine, coarse)], dim=2).transpose(1, 2)
        shapes = [tuple(level.shape[2:]) for level in (fine, coarse)]
        return ms_deform_attn(value.unflatten(2, (-1, 4)), shapes, locations, weights)


@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="torch 2.6 cannot tell")
@pytest.mark.parametrize("groups", [1, 2])
def test_exports_to_plain_torch_with_open_sizes(groups):
    def inputs(queries, fine, coarse):
        maps = (torch.randn(2, 4 * groups, *size) for size in (fine, coarse))
        return *maps, torch.rand(2, queries, 2, 2, 3, 2) * 1.4 - 0.2, torch.randn(2, queries, 2, 2, 3)

    size = torch.export.Dim.DYNAMIC
    exported = torch.export.export(
        Reader(),
        inputs(5, (8, 6), (4, 3)),
        dynamic_shapes=({2: size, 3: size}, {2: size, 3: size}, {1: size}, {1: size}),
    )
    called = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert any(name.startswith("aten.index") for name in called)
    assert not [name for name in called if "posecore" in name or "grid_sample" in name]
    others = inputs(7, (5, 9), (2, 2))
    torch.testing.assert_close(exported.module()(*others), Reader()(*others))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_values_and_nothing_else(device, dtype):
    # bfloat16 knows no number between 128 and 129, float16 none between 128 and 128.125.
    value = (torch.arange(200.0, device=device) - 128).view(1, 200, 1, 1).requires_grad_()
    locations = torch.tensor([128.5625 / 200, 0.5], device=device).view(1, 1, 1, 1, 1, 2).requires_grad_()
    weights = torch.full((1, 1, 1, 1, 1), 1 + 2**-12, device=device, requires_grad=True)
    with torch.autocast(device, dtype=dtype):
        result = ms_deform_attn(value, [(1, 200)], locations, weights)
        from_half = ms_deform_attn(value.to(dtype), [(1, 200)], locations.double(), weights.double())
    assert result.dtype == from_half.dtype == dtype
    assert result.item() == from_half.item() == pytest.approx(0.0625, rel=1e-2)
    result.backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in (value, locations, weights))
    assert locations.grad.flatten().tolist() == pytest.approx([200, -0.0625], rel=1e-2)  # y: to the zeros
    assert weights.grad.item() == pytest.approx(0.0625, rel=1e-3)


def test_autocast_leaves_float64_alone():
    inputs = example(dtype=torch.float64)
    expected = ms_deform_attn(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ms_deform_attn(*inputs), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
def test_points_beyond_every_map_read_zero(device, bad):
    value, shapes, locations, weights = example(device=device)
    spoilt, silent = locations.clone(), weights.clone()
    spoilt[1, 3, 2, 1, 0, 0] = spoilt[0, 2, 1, 0, 2, 1] = bad
    silent[1, 3, 2, 1, 0] = silent[0, 2, 1, 0, 2] = 0
    result, *gradients = with_gradients(ms_deform_attn, value, shapes, spoilt, weights)
    torch.testing.assert_close(result, ms_deform_attn(value, shapes, locations, silent))
    torch.testing.assert_close(result, ms_deform_attn_reference(value, shapes, spoilt, weights))
    assert all(gradient.isfinite().all() for gradient in gradients)
    _, grad_locations, grad_weights = gradients
    for place in ((1, 3, 2, 1, 0), (0, 2, 1, 0, 2)):
        assert grad_locations[place].tolist() == [0, 0]
        assert grad_weights[place] == 0


@pytest.mark.parametrize("device", DEVICES)
def test_levels_do_not_run_into_each_other(device):
    # Only the middle level has numbers; beyond its edges lie the others in memory.
    value = torch.full((1, 4 + 1 + 4, 1, 8), float("nan"), device=device)
    value[:, 4] = 1
    locations = torch.tensor([[0.25, 0.5], [1.25, 0.5], [0.5, -0.25], [0.5, 2]], device=device)
    places = torch.full((1, 1, 1, 3, 4, 2), 9.0, device=device)
    places[:, :, :, 1] = locations
    weights = torch.ones(1, 1, 1, 3, 4, device=device)
    inputs = value, [(2, 2), (1, 1), (2, 2)], places, weights
    result, grad_value, grad_locations, grad_weights = with_gradients(ms_deform_attn, *inputs)
    assert result.flatten().tolist() == [0.75 + 0.25 + 0.25] * 8
    assert grad_value[0, :, 0, 0].tolist() == [0] * 4 + [1.25] + [0] * 4
    assert grad_weights[0, 0, 0].tolist() == [[0] * 4, [6, 2, 2, 0], [0] * 4]
    # Along the other axis these points are at a center, from where it goes down to the zeros outside.
    assert grad_locations[0, 0, 0, 1].tolist() == [[8, -6], [-8, -2], [-2, 8], [0, 0]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "sizes",
    [
        {"queries": 0},
        {"images": 0},
        {"channels": 0},
        {"points": 0},
        {"heads": 0},
        {"shapes": []},
        {"shapes": [(0, 4), (2, 3)]},
        {"shapes": [(0, 0)]},
        {
            "images": 1,
            "groups": 1,
            "channels": 1,
            "queries": 1,
            "heads": 1,
            "points": 1,
            "shapes": [(1, 1)],
        },
    ],
    ids=str,
)
def test_empty_and_least_sizes(device, sizes):
    value, shapes, locations, weights = example(device=device, **sizes)
    result, *gradients = with_gradients(ms_deform_attn, value, shapes, locations, weights)
    assert result.shape == (*locations.shape[:3], value.shape[3])
    assert [tensor.shape for tensor in gradients] == [value.shape, locations.shape, weights.shape]
    assert all(tensor.isfinite().all() for tensor in (result, *gradients))
    kept = [level for level, (height, width) in enumerate(shapes) if height * width]
    others = locations[:, :, :, kept], weights[:, :, :, kept]
    torch.testing.assert_close(
        result, ms_deform_attn_reference(value, [shapes[level] for level in kept], *others)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_of_any_layout_are_read_and_left_alone(device):
    value, shapes, locations, weights = example(channels=8, device=device)
    expected = with_gradients(ms_deform_attn, value, shapes, locations, weights)
    values = {
        "channels apart": value.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        "groups apart": value.transpose(1, 2).contiguous().transpose(1, 2),
        "every other channel": value.repeat_interleave(2, dim=3)[..., ::2],
        "part of the channels": torch.cat([value, value], dim=3)[..., :8],
        "out of line": torch.cat([value[..., :1], value], dim=3)[..., 1:],
    }
    locations = locations.transpose(0, 5).contiguous().transpose(0, 5)
    weights = weights.repeat_interleave(3, dim=4)[..., ::3]
    for layout, maps in values.items():
        copies = [tensor.clone() for tensor in (maps, locations, weights)]
        actual = with_gradients(ms_deform_attn, maps, shapes, locations, weights)
        for one, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(one, other, msg=layout)
        for tensor, copy in zip((maps, locations, weights), copies, strict=True):
            assert torch.equal(tensor, copy), layout


def test_expanded_values_and_gradients():
    value, shapes, locations, weights = example(groups=1)
    each = value.expand(-1, -1, 4, -1)  # one group for each head
    _, grad_value, *others = with_gradients(ms_deform_attn, value, shapes, locations, weights)
    _, grad_each, *same = with_gradients(ms_deform_attn, each, shapes, locations, weights)
    torch.testing.assert_close(grad_each.sum(dim=2, keepdim=True), grad_value)
    assert_all_close(same, others, torch.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_half_precision_are_taken_in_single(device, dtype):
    # Added one by one in these types, ones stop counting at 256 and at 2048.
    value = torch.ones(1, 1, 1, 1, dtype=dtype, device=device)
    locations = torch.full((1, 2, 2, 1, 2048, 2), 0.5, device=device)
    weights = torch.ones(1, 2, 2, 1, 2048, device=device)
    result, grad_value, _, _ = with_gradients(ms_deform_attn, value, [(1, 1)], locations, weights)
    assert result.flatten().tolist() == [2048] * 4
    assert grad_value.item() == 4 * 2048


@pytest.mark.parametrize(("groups", "channels"), [(8, 32), (1, 256), (2, 5)])
def test_the_number_of_threads_changes_no_bit(groups, channels):
    # Enough reads for each thread to be worth it, and blocks of channels that do not share out evenly.
    shapes = [(30, 20), (15, 10)]
    inputs = example(shapes, 1, groups, channels, queries=3000 // channels * 8, heads=8, points=4)
    grad = torch.randn(1, inputs[2].shape[1], 8, channels)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(with_gradients(ms_deform_attn, *inputs, grad))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_large_results_are_right():
    # Above 8 MiB, from where the CPU asks for huge pages.
    inputs = example([(96, 96), (5, 5)], 1, 1, 256, queries=1050, heads=8, points=1)
    grad = torch.randn(1, 1050, 8, 256)
    assert_all_close(with_gradients(ms_deform_attn, *inputs, grad), exact(*inputs, grad), torch.float32)


def refused():
    value, shapes, locations, weights = example()
    return {
        "value must be (N, R, G, C)": (value[0], shapes, locations, weights),
        "locations must be (N, Q, H, L, P, 2) with N = 2": (value, shapes, locations[..., :1], weights),
        "with N = 2 as in value, got [1, 6, 4, 3, 3, 2]": (value, shapes, locations[:1], weights[:1]),
        "weights must be (N, Q, H, L, P) = [2, 6, 4, 3, 3]": (value, shapes, locations, weights[..., :2]),
        "the 3 heads of locations do not split into the 2 groups of value": (
            value,
            shapes,
            locations[:, :, :3],
            weights[:, :, :3],
        ),
        "do not split into the 0 groups": (value[:, :, :0], shapes, locations, weights),
        "shapes must be a pair for each of the 3 levels": (value, shapes[:2], locations, weights),
        "level 1 of shapes must not be negative, got [-3, -2]": (
            value,
            [(5, 7), (-3, -2), (1, 1)],
            locations,
            weights,
        ),
        "the levels of shapes have 43 cells, but value has 42": (
            value,
            [(5, 7), (7, 1), (1, 1)],
            locations,
            weights,
        ),
        "locations must have at most 16 levels, got 18": (
            value,
            [(1, 1)] * 18,
            locations.repeat(1, 1, 1, 6, 1, 1),
            weights.repeat(1, 1, 1, 6, 1),
        ),
        "locations and weights must be Float where value is Float, got Double and Float": (
            value,
            shapes,
            locations.double(),
            weights,
        ),
        "must be Float where value is Half, got Float and Half": (
            value.half(),
            shapes,
            locations,
            weights.half(),
        ),
        "must be Double where value is Double": (value.double(), shapes, locations, weights),
        "not implemented for 'Int'": (value.int(), shapes, locations, weights),
    }


@pytest.mark.parametrize("message", refused())
def test_refuses_what_does_not_fit(message):
    inputs = refused()[message]
    with pytest.raises((RuntimeError, NotImplementedError)) as error:
        ms_deform_attn(*inputs)
    assert message in str(error.value)


@needs_cuda
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("groups", "channels"), [(4, 1), (1, 5), (2, 12), (4, 64), (1, 300)])
def test_cuda_equals_cpu(dtype, groups, channels):
    shapes = [(17, 11), (9, 6)]
    value, _, locations, weights = inputs = example(shapes, 3, groups, channels, 50, dtype=dtype)
    grad = torch.randn(3, 50, 4, channels).to(dtype)
    expected = with_gradients(ms_deform_attn, *inputs, grad)
    moved = value.cuda(), shapes, locations.cuda(), weights.cuda(), grad.cuda()
    actual = with_gradients(ms_deform_attn, *moved)
    assert_all_close([tensor.cpu() for tensor in actual], expected, dtype)


@needs_cuda
def test_refuses_two_devices():
    value, shapes, locations, weights = example()
    with pytest.raises(RuntimeError, match="must be on one device, got cuda:0, cpu and cpu"):
        ms_deform_attn(value.cuda(), shapes, locations, weights)


@needs_cuda
def test_cuda_says_that_its_gradient_of_value_varies():
    value, shapes, locations, weights = example(device="cuda")
    result = ms_deform_attn(value.requires_grad_(), shapes, locations, weights)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="ms_deform_attn_grad_value"):
            result.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
