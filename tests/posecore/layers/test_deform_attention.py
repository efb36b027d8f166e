"""Both forms of deformable attention against the official numbers, and against each other."""

import math

import pytest
import torch
from helpers.oracles import arrays, load_fill

from posecore.layers.deform_attention import EMSDeformAttention, MSDeformAttention

FORMS = [EMSDeformAttention, MSDeformAttention]
SHAPES = [(16, 12), (8, 6), (4, 3), (2, 2)]


def official_parameters(layer, fill, with_bias=True):
    """Fills a layer of 8 heads with the numbers of the official one, which keeps values transposed."""
    prefix = "keypoint_head.transformer.decoder.layers.0.attentions.1"
    given = {}
    for name, parameter in layer.named_parameters():
        if not name.startswith("value_proj"):
            given[name] = torch.from_numpy(fill.parameter(f"{prefix}.{name}", tuple(parameter.shape)))
    weight = torch.from_numpy(fill.parameter(f"{prefix}.value_proj_weight.weight", (2048, 32)))
    bias = torch.from_numpy(fill.parameter(f"{prefix}.value_proj_bias.weight", (8, 32)))
    given["value_proj.weight"] = weight.view(8, 256, 32).transpose(1, 2).flatten(0, 1)
    given["value_proj.bias"] = bias.flatten() * with_bias
    layer.load_state_dict(given)
    return layer


@pytest.fixture
def official(shared):
    """The inputs of the official case, its outputs, and what fills parameters."""
    fill = load_fill(shared)

    def normal(name, shape, scale=1.0):
        return torch.from_numpy(fill.normal(f"poseur/emsda/{name}", shape, scale))

    levels = [normal(f"feat{level}", (2, 256, *shape)) for level, shape in enumerate(SHAPES)]
    inputs = {
        "query": normal("query", (17, 2, 256)).transpose(0, 1),
        "position": normal("query_pos", (17, 2, 256), 0.5).transpose(0, 1),
        "memory": torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1),
        "reference": torch.from_numpy(fill.uniform("poseur/emsda/reference", (2, 17, 2), -0.15, 1.15)),
        "grad": normal("grad", (17, 2, 256)).transpose(0, 1),
    }
    return inputs, arrays(shared / "oracles/poseur/emsda/outputs.npz"), fill


@pytest.mark.parametrize(
    ("form", "with_bias", "name"),
    [
        (EMSDeformAttention, True, "emsda_bias"),
        (EMSDeformAttention, False, "emsda_zero_bias"),
        (MSDeformAttention, True, "msda_bias"),
        (MSDeformAttention, False, "msda_zero_bias"),
    ],
)
def test_equals_the_official_numbers(official, form, with_bias, name):
    inputs, outputs, fill = official
    layer = official_parameters(form(256), fill, with_bias)
    query, reference = inputs["query"], inputs["reference"][:, :, None]
    result = query + layer(query + inputs["position"], reference, inputs["memory"], SHAPES)
    torch.testing.assert_close(result.transpose(0, 1), outputs[name], rtol=2e-5, atol=5e-5)


def test_steps_and_gradients_equal_the_official_numbers(official):
    inputs, outputs, fill = official
    layer = official_parameters(EMSDeformAttention(256), fill)
    query, memory, reference = (
        inputs[name].clone().requires_grad_() for name in ("query", "memory", "reference")
    )
    steps = {}
    layer.sampling_offsets.register_forward_hook(lambda *args: steps.update(offsets=args[2]))
    layer.attention_weights.register_forward_hook(lambda *args: steps.update(logits=args[2]))
    layer.output_proj.register_forward_hook(lambda *args: steps.update(merged=args[1][0], projected=args[2]))
    result = query + layer(query + inputs["position"], reference[:, :, None], memory, SHAPES)
    for name, step in steps.items():
        torch.testing.assert_close(step, outputs[name], rtol=2e-5, atol=5e-5, msg=name)
    (result * inputs["grad"]).sum().backward()
    gradients = {
        "grad_query": (query.grad.transpose(0, 1), 2e-4),
        "grad_reference": (reference.grad, 2e-3),
        "grad_value_norm": (memory.grad.norm(dim=-1).t(), 2e-4),
    }
    for name, (gradient, atol) in gradients.items():
        torch.testing.assert_close(gradient, outputs[name], rtol=2e-5, atol=atol, msg=name)


def small_case(references=1, queries=5, images=2, inside=False):
    """Queries, reference points and a memory for layers of 8 channels on two levels."""
    shapes = [(5, 7), (3, 4)]
    query = torch.randn(images, queries, 8)
    points = torch.rand(images, queries, references, 2)
    points = 0.4 + 0.2 * points if inside else 1.4 * points - 0.2
    memory = torch.randn(images, sum(height * width for height, width in shapes), 8)
    return query, points, memory, shapes


def randomized(layer, scale=0.3):
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return layer


def test_forms_share_parameters_and_agree_inside_the_maps():
    one = randomized(EMSDeformAttention(8, heads=2, levels=2, points=3), scale=0.1)
    other = MSDeformAttention(8, heads=2, levels=2, points=3)
    other.load_state_dict(one.state_dict())
    inputs = small_case(inside=True)
    torch.testing.assert_close(one(*inputs), other(*inputs))


@pytest.mark.parametrize("form", FORMS)
def test_a_query_may_have_several_reference_points(form):
    # Three reference points with two sampling points each are one reference point with six, moved.
    several = randomized(form(8, heads=2, levels=2, points=2, references=3))
    single = form(8, heads=2, levels=2, points=6)
    single.load_state_dict(several.state_dict())
    query, points, memory, shapes = small_case(references=3)
    torch.testing.assert_close(
        several(query, points[:, :, :1].expand(-1, -1, 3, -1), memory, shapes),
        single(query, points[:, :, :1], memory, shapes),
    )
    result = several(query, points, memory, shapes)
    points = points.clone()
    points[0, 1, 2] += 0.1
    changed = (several(query, points, memory, shapes) != result).any(dim=-1)
    assert changed.nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("form", FORMS)
def test_reference_points_may_differ_from_level_to_level(form):
    layer = randomized(form(8, heads=2, levels=2, points=2, references=3))
    query, points, memory, shapes = small_case(references=3)
    per_level = points[:, :, None].repeat(1, 1, 2, 1, 1)
    result = layer(query, points, memory, shapes)
    torch.testing.assert_close(layer(query, per_level, memory, shapes), result)
    # The second level is read elsewhere; what the first one gives stays.
    with torch.no_grad():
        layer.attention_weights.bias.view(2, 2, 3, 2)[:, 1] = -1e4
    result = layer(query, points, memory, shapes)
    per_level[:, :, 1] += 0.1
    torch.testing.assert_close(layer(query, per_level, memory, shapes), result)
    per_level[:, :, 0] += 0.1
    assert (layer(query, per_level, memory, shapes) != result).any(dim=-1).all()


def test_padding_reads_zeros_without_the_bias():
    layer = randomized(MSDeformAttention(8, heads=2, levels=2, points=2))
    query, points, memory, shapes = small_case()
    padding = torch.rand(memory.shape[:2]) < 0.4
    result = layer(query, points, memory, shapes, padding)
    spoiled = memory.masked_fill(padding[..., None], 1e3)
    torch.testing.assert_close(layer(query, points, spoiled, shapes, padding), result)
    nothing = layer(query, points, memory, shapes, torch.ones_like(padding))
    torch.testing.assert_close(nothing, layer.output_proj.bias.expand_as(nothing))
    assert torch.equal(
        layer(query, points, memory, shapes, torch.zeros_like(padding)), layer(query, points, memory, shapes)
    )


def test_the_efficient_form_refuses_padding():
    layer = EMSDeformAttention(8, heads=2, levels=2, points=2)
    query, points, memory, shapes = small_case()
    with pytest.raises(ValueError, match="cannot leave out padding: use MSDeformAttention"):
        layer(query, points, memory, shapes, torch.zeros(memory.shape[:2], dtype=torch.bool))


@pytest.mark.parametrize("form", FORMS)
def test_offsets_count_cells_of_each_level(form):
    # The reference point is the center of the first cell of each level; one cell further right and down.
    layer = form(8, heads=1, levels=2, points=1)
    with torch.no_grad():
        layer.value_proj.weight.copy_(torch.eye(8))
        layer.output_proj.weight.copy_(torch.eye(8))
        layer.sampling_offsets.bias.copy_(torch.tensor([3.0, 2, 1, 0]))
    fine, coarse = torch.randn(1, 8, 10, 8), torch.randn(1, 5, 4, 8)
    memory = torch.cat([fine.flatten(1, 2), coarse.flatten(1, 2)], dim=1)
    reference = torch.tensor([0.5 / 10, 0.5 / 8]).view(1, 1, 1, 2)
    result = layer(torch.zeros(1, 1, 8), reference, memory, [(8, 10), (5, 4)])
    # On the coarse level that is 0.2 of a cell and 0.3125 of one; half a cell left of and above its center.
    x, y = 4 * 0.05 - 0.5 + 1, 5 * 0.0625 - 0.5
    left, right = coarse[0, 0, 0], coarse[0, 0, 1]
    expected = (1 + y) * ((1 - x) * left + x * right)
    torch.testing.assert_close(result[0, 0], (fine[0, 2, 3] + expected) / 2)


@pytest.mark.parametrize("form", FORMS)
def test_a_new_layer_looks_around_in_all_directions(form):
    layer = form(256, heads=8, levels=4, points=4, references=2)
    offsets = layer.sampling_offsets.bias.detach().view(8, 4, 2, 4, 2)
    assert torch.equal(offsets, offsets[:, :1, :1].expand_as(offsets))
    torch.testing.assert_close(offsets[:, 0, 0, :, :].abs().amax(dim=-1), torch.arange(1.0, 5).expand(8, 4))
    x, y = offsets[:, 0, 0, 3].unbind(dim=-1)
    torch.testing.assert_close(torch.atan2(y, x) % (2 * math.pi), torch.arange(8) * math.pi / 4)
    # Whatever the query is, before anything is learned.
    assert not layer.sampling_offsets.weight.any()
    assert not layer.attention_weights.weight.any()
    assert not any(
        bias.any() for name, bias in layer.named_parameters() if "bias" in name and "offsets" not in name
    )


def test_official_initialization_draws_every_matrix(shared):
    layer = EMSDeformAttention(256, init="xavier")
    measured = {
        "sampling_offsets.weight": 0.0625,
        "sampling_offsets.bias": 2.376,
        "attention_weights.weight": 0.0722,
        "value_proj.bias": 0.221,
        "output_proj.weight": 0.0625,
    }
    for name, std in measured.items():
        assert layer.get_parameter(name).std().item() == pytest.approx(std, rel=0.1), name
    assert layer.value_proj.bias.abs().max() <= math.sqrt(6 / (8 + 32))


@pytest.mark.parametrize("form", FORMS)
def test_empty_and_single_inputs(form):
    layer = randomized(form(8, heads=4, levels=2, points=2))
    query, points, memory, shapes = small_case()
    result = layer(query, points, memory, shapes)
    torch.testing.assert_close(layer(query[1:], points[1:], memory[1:], shapes), result[1:])
    assert layer(query[:, :0], points[:, :0], memory, shapes).shape == (2, 0, 8)
    assert layer(query[:0], points[:0], memory[:0], shapes).shape == (0, 5, 8)


@pytest.mark.parametrize("form", FORMS)
def test_exports_with_open_sizes_of_maps(form):
    class OnMaps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = randomized(form(8, heads=2, levels=2, points=2))

        def forward(self, query, references, fine, coarse):
            memory = torch.cat([level.flatten(2) for level in (fine, coarse)], dim=2).transpose(1, 2)
            shapes = [tuple(level.shape[2:]) for level in (fine, coarse)]
            return self.attention(query, references, memory, shapes)

    def inputs(*sizes):
        return torch.randn(2, 5, 8), torch.rand(2, 5, 1, 2), *(torch.randn(2, 8, *size) for size in sizes)

    model, size = OnMaps(), torch.export.Dim.DYNAMIC
    open_sizes = (None, None, {2: size, 3: size}, {2: size, 3: size})
    exported = torch.export.export(model, inputs((8, 6), (4, 3)), dynamic_shapes=open_sizes)
    others = inputs((5, 9), (3, 5))
    torch.testing.assert_close(exported.module()(*others), model(*others))


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_leaves_reference_points_alone(form):
    layer = randomized(form(8, heads=2, levels=2, points=2))
    inputs = small_case()
    exact = layer(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(*inputs)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), exact, rtol=0.1, atol=0.1)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="10 channels do not split into 4 heads"):
        EMSDeformAttention(10, heads=4)
