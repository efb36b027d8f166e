"""The keys of speed for all methods: MODEL.CHANNELS_LAST, MODEL.COMPILE and TEST.PRECISION."""

import importlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers.configs import SMALL_FCOS, load_cfg, override_list
from helpers.image_samples import sample
from helpers.person_crops import crop, image
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from posecore.layers.precision import autocast_to
from posecore.modeling.build import (
    build_inference_model,
    build_model,
    compile_dense_modules,
    to_channels_last,
)
from posecore.modeling.fcos.detector import FCOSDetector

pytestmark = pytest.mark.long

METHODS = ("directpose", "fcpose", "grouppose", "inspose", "poet", "poseur")
NOT_RANDOM = {
    "poet": ("MODEL.POET.DROPOUT", 0.0),
    "poseur": ("MODEL.POSEUR.NOISE.KIND", "none", "MODEL.POSEUR.DROPOUT", 0.0),
}


def tiny(method: str) -> nn.Module:
    torch.manual_seed(0)
    model = importlib.import_module(f"helpers.{method}_oracle").tiny(*NOT_RANDOM.get(method, ()))
    if isinstance(detector := getattr(model, "detector", None), FCOSDetector):
        settings = {"score_thresh": 0.0, "nms_thresh": 1.0, "max_detections": 4}
        for name, value in settings.items():
            object.__setattr__(detector.inference_settings, name, value)
        if "ltrb" in detector.head.predictions:  # boxes without an area are no detections
            nn.init.constant_(detector.head.predictions.get_parameter("ltrb.conv.bias"), 4.0)
    return model


def batch_of(method: str) -> list[dict[str, Any]]:
    return [crop(0), crop(1)] if method == "poseur" else [sample(0, 2), sample(1, 1)]


def inputs_of(method: str) -> list[dict[str, Any]]:
    return [image(0, 2), image(1, 1)] if method == "poseur" else [sample(0, 0), sample(1, 0)]


def losses_and_gradients(model: nn.Module, batch: list[dict[str, Any]]) -> tuple[dict[str, float], Tensor]:
    model.train()
    model.zero_grad()
    losses = model(batch)
    sum(losses.values()).backward()
    gradients = [p.grad.contiguous().flatten() for p in model.parameters() if p.grad is not None]
    return {name: loss.item() for name, loss in losses.items()}, torch.cat(gradients)


@torch.no_grad()
def poses(model: nn.Module, inputs: list[dict[str, Any]]) -> list[Tensor]:
    """Per image boxes, scores and keypoints of all detections, (M, 5 + 3K)."""
    found = [result["instances"] for result in model.eval()(inputs)]
    return [
        torch.cat([d.pred_boxes.tensor, d.scores[:, None], d.pred_keypoints.flatten(1)], dim=1) for d in found
    ]


@pytest.mark.parametrize("method", METHODS)
def test_channels_last_changes_only_the_rounding(method: str) -> None:
    model, batch, inputs = tiny(method), batch_of(method), inputs_of(method)
    expected = poses(model, inputs)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    losses, gradients = losses_and_gradients(model, batch)
    model.load_state_dict(state)  # norms have seen the batch
    to_channels_last(model)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convs)
    for own, other in zip(poses(model, inputs), expected, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-2)
    own_losses, own_gradients = losses_and_gradients(model, batch)
    assert own_losses == pytest.approx(losses, rel=1e-4)
    assert (own_gradients - gradients).norm() < 1e-3 * gradients.norm()


class Backend:
    """Counts the graphs that are compiled, and runs them as they are."""

    def __init__(self) -> None:
        self.counter = CompileCounterWithBackend("eager")

    def __call__(self, graph: Any, inputs: Sequence[Any]) -> Any:
        return self.counter(graph, inputs)


@pytest.mark.parametrize("method", ["directpose", "grouppose", "poet", "poseur"])
def test_compile_changes_nothing_and_holds_for_other_sizes(method: str) -> None:
    torch._dynamo.reset()
    # Square images come first: their equal sides must not become one symbol. Sides that are one cell are
    # compiled apart, and so are small maps of single images, for which torch has other convolutions.
    sizes = [(288, 288), (416, 288), (320, 480)]
    inputs = [[sample(seed, 0, size=size) for seed in (0, 1)] for size in sizes]
    if method == "poseur":
        inputs = [[image(seed, people)] for seed, people in enumerate([12, 9, 14])]
    model = tiny(method)
    expected = [poses(model, own) for own in inputs]
    names = list(model.state_dict())
    backend = Backend()
    compile_dense_modules(model, backend)
    assert list(model.state_dict()) == names
    counts = []
    for own, other in zip(inputs, expected, strict=True):
        for found, pose in zip(poses(model, own), other, strict=True):
            torch.testing.assert_close(found, pose, rtol=1e-4, atol=1e-3)
        counts.append(backend.counter.frame_count)
    assert counts[0] > 0
    assert len(set(counts)) == 1, f"another size is compiled again: {counts}"


def test_compile_trains_as_without() -> None:
    """With the backward pass traced, in the backend that generates no code."""
    torch._dynamo.reset()
    batch = batch_of("directpose")
    model = tiny("directpose")
    losses, gradients = losses_and_gradients(model, batch)
    compile_dense_modules(model, "aot_eager")
    own_losses, own_gradients = losses_and_gradients(model, batch)
    assert own_losses == pytest.approx(losses, rel=1e-4)
    assert (own_gradients - gradients).norm() < 1e-3 * gradients.norm()


def test_compile_to_code() -> None:
    """One tower by torch's compiler: it trains at three sizes with one code, and predicts the same."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 4, 1)]
    model = nn.Module()
    model.backbone = nn.Sequential(*layers)
    inputs = [torch.rand(2, 3, *size) for size in [(32, 32), (24, 40), (48, 16)]]

    def output_and_gradients(maps: Tensor) -> list[Tensor]:
        model.zero_grad()
        output = model.backbone(maps)
        output.square().sum().backward()
        return [output.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]

    expected = [output_and_gradients(maps) for maps in inputs]
    compile_dense_modules(model, "inductor")
    torch._dynamo.utils.counters.clear()
    for maps, values in zip(inputs, expected, strict=True):
        output, *gradients = output_and_gradients(maps)
        torch.testing.assert_close(output, values[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradients, values[1:], rtol=1e-4, atol=1e-4)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1, tuple(maps.shape)
    with torch.no_grad():
        for maps, values in zip(inputs, expected, strict=True):
            torch.testing.assert_close(model.backbone(maps), values[0], rtol=1e-4, atol=1e-5)


def demo_cfg(*overrides: Any) -> Any:
    return load_cfg("directpose/R_50_25ep.yaml", *override_list(SMALL_FCOS), *overrides)


def test_the_keys_build_what_they_say() -> None:
    plain = build_model(demo_cfg())
    assert plain.backbone._compiled_call_impl is None
    assert not is_channels_last(plain)
    assert not is_channels_last(build_inference_model(demo_cfg()))
    keys = ("MODEL.CHANNELS_LAST", True, "MODEL.COMPILE", True, "MODEL.COMPILE_BACKEND", "eager")
    for build in (build_model, build_inference_model):
        model = build(demo_cfg(*keys))
        assert is_channels_last(model)
        assert model.backbone._compiled_call_impl is not None
        assert model.detector.head._compiled_call_impl is not None
    half = demo_cfg("TEST.PRECISION", "bfloat16")
    assert is_channels_last(build_inference_model(half))
    assert not is_channels_last(build_model(half))


def is_channels_last(model: nn.Module) -> bool:
    conv = model.backbone.fpn_output3
    return conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("TEST.PRECISION", "half"), r"TEST.PRECISION must be one of 'float32', .*not 'half'"),
        (
            ("MODEL.COMPILE", True, "MODEL.COMPILE_BACKEND", "xla"),
            r"MODEL.COMPILE_BACKEND must be one of .*not 'xla'",
        ),
        (
            ("MODEL.COMPILE", True, "MODEL.BACKBONE.ACTIVATION_CHECKPOINTING", True),
            r"MODEL.COMPILE and MODEL.BACKBONE.ACTIVATION_CHECKPOINTING cannot be combined",
        ),
    ],
)
def test_wrong_values_of_the_keys(overrides: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_inference_model(demo_cfg(*overrides))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_predicts_in_full_precision(method: str, dtype: torch.dtype) -> None:
    """The results are float32, finite, and near those of float32 in what random weights decide stably."""
    model, inputs = tiny(method), inputs_of(method)
    expected = poses(model, inputs)
    to_channels_last(model)
    with autocast_to(dtype, model):
        found = poses(model, inputs)
    for own, other in zip(found, expected, strict=True):
        assert own.dtype == torch.float32
        assert own.shape == other.shape
        assert own.isfinite().all()
        scores, expected_scores = own[:, 4].sort().values, other[:, 4].sort().values
        torch.testing.assert_close(scores, expected_scores, rtol=0.05, atol=0.02)
    if method in ("poet", "poseur"):  # the others choose among many near locations
        for own, other in zip(found, expected, strict=True):
            assert (own[:, 5:] - other[:, 5:]).abs().max() < 2.0
