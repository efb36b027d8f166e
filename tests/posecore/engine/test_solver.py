"""Learning rates per parameter and per iteration, against hand-computed values."""

import json
import math

import pytest
import torch
from helpers.configs import override_list
from helpers.support import core_cfg
from torch import nn

from posecore.engine.solver import (
    build_gradient_clipper,
    build_lr_scheduler,
    build_optimizer,
    parameter_groups,
    resolve_epochs,
)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1), nn.LayerNorm(2))


def settings(optimizer, model):
    """(lr, decay) by parameter name."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def solver_cfg(*options):
    cfg = core_cfg()
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.01, *options])
    return cfg


def test_every_trainable_parameter_is_in_exactly_one_group():
    model = Toy()
    model.backbone[0].weight.requires_grad = False
    model.head.alias = model.head[0]  # the same parameters under a second name
    optimizer = build_optimizer(solver_cfg("SOLVER.LR_FACTORS", [["backbone.", 0.1]]), model)
    grouped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {parameter for parameter in model.parameters() if parameter.requires_grad}


def test_defaults_are_detectron2s():
    model = Toy()
    found = settings(build_optimizer(solver_cfg(), model), model)
    assert found["head.0.weight"] == found["head.0.bias"] == (0.01, 1e-4)
    assert found["backbone.1.weight"] == found["backbone.2.bias"] == found["head.1.weight"] == (0.01, 0.0)


def test_factors_multiply_with_each_other_and_with_the_bias_factor():
    model = Toy()
    cfg = solver_cfg("SOLVER.LR_FACTORS", [["head", 10.0], ["head.1", 0.5]], "SOLVER.BIAS_LR_FACTOR", 2.0)
    found = settings(build_optimizer(cfg, model), model)
    assert found["backbone.0.weight"][0] == pytest.approx(0.01)
    assert found["backbone.0.bias"][0] == pytest.approx(0.02)
    assert found["head.0.bias"][0] == pytest.approx(0.2)
    assert found["head.1.weight"][0] == pytest.approx(0.05)
    assert found["head.1.bias"][0] == pytest.approx(0.1)


def test_bias_decay_wins_over_norm_decay():
    model = Toy()
    groups = parameter_groups(model, lr=1.0, weight_decay=3.0, weight_decay_norm=2.0, weight_decay_bias=1.0)
    decays = {parameter: group["weight_decay"] for group in groups for parameter in group["params"]}
    assert decays[model.backbone[1].bias] == 1.0
    assert decays[model.backbone[1].weight] == 2.0
    assert decays[model.head[0].bias] == 1.0
    assert decays[model.head[0].weight] == 3.0


def test_factors_of_weight_decays():
    model = Toy()
    cfg = solver_cfg("SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.WEIGHT_DECAY_FACTORS", [["head", 0.1]])
    found = settings(build_optimizer(cfg, model), model)
    assert found["backbone.0.weight"] == (0.01, 0.5)
    assert found["head.0.weight"] == (0.01, pytest.approx(0.05))
    with pytest.raises(ValueError, match=r"SOLVER.WEIGHT_DECAY_FACTORS.*'tail'"):
        build_optimizer(solver_cfg("SOLVER.WEIGHT_DECAY_FACTORS", [["tail", 0.1]]), Toy())


def test_the_official_factors_can_be_written(shared):
    """DirectPose's code: heads at ten times the rate, biases at twice that and without decay."""
    manifest = json.loads((shared / "oracles/directpose/manifest_authors.json").read_text())
    expected = {tensor["name"]: tensor for tensor in manifest["tensors"] if "lr_factor" in tensor}
    model = nn.Module()
    for name in expected:
        *path, last = name.split(".")
        module = model
        for part in path:
            if part not in module._modules:
                is_norm = len(expected[name]["shape"]) == 1 and last == "weight"
                module.add_module(part, nn.GroupNorm(1, 1, affine=False) if is_norm else nn.Module())
            module = module._modules[part]
        module.register_parameter(last, nn.Parameter(torch.zeros(1)))
    cfg = solver_cfg(
        *override_list(
            {
                "SOLVER.LR_FACTORS": [["rpn.head", 10.0], ["heatmaps", 10.0]],
                "SOLVER.BIAS_LR_FACTOR": 2.0,
                "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
                "SOLVER.WEIGHT_DECAY_NORM": 1e-4,
            }
        ),
    )
    found = settings(build_optimizer(cfg, model), model)
    assert found.keys() == expected.keys()
    for name, (lr, decay) in found.items():
        assert lr == pytest.approx(0.01 * expected[name]["lr_factor"]), name
        assert decay == expected[name]["weight_decay"], name


def test_adamw_and_unknown_optimizer():
    model = Toy()
    assert isinstance(build_optimizer(solver_cfg("SOLVER.OPTIMIZER", "ADAMW"), model), torch.optim.AdamW)
    with pytest.raises(ValueError, match=r"SOLVER.OPTIMIZER must be one of 'SGD', 'ADAMW', not 'Adam'"):
        build_optimizer(solver_cfg("SOLVER.OPTIMIZER", "Adam"), model)


@pytest.mark.parametrize("entry", [["backbone.", "0.1"], ["backbone."], [0.1, "backbone."]])
def test_malformed_lr_factor(entry):
    with pytest.raises(ValueError, match=r"SOLVER.LR_FACTORS.*pair"):
        build_optimizer(solver_cfg("SOLVER.LR_FACTORS", [entry]), Toy())


def test_lr_factor_of_a_part_that_does_not_exist():
    with pytest.raises(ValueError, match=r"SOLVER.LR_FACTORS.*'bakbone'.*'backbone.0.weight'"):
        build_optimizer(solver_cfg("SOLVER.LR_FACTORS", [["bakbone", 0.1]]), Toy())


def test_nothing_to_train():
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizer(solver_cfg(), Toy().requires_grad_(False))


def with_gradients(*gradients):
    parameters = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return parameters


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("value", [[1.0, -1.0], [0.5, 0.0]]),
        ("norm", [[0.6, -0.8], [0.5, 0.0]]),
        ("full_model", [[3 / math.sqrt(25.25), -4 / math.sqrt(25.25)], [0.5 / math.sqrt(25.25), 0.0]]),
    ],
)
def test_gradient_clipping(kind, expected):
    cfg = solver_cfg("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    parameters = [*with_gradients([3.0, -4.0], [0.5, 0.0]), nn.Parameter(torch.zeros(1))]
    build_gradient_clipper(cfg)(parameters)
    for parameter, gradient in zip(parameters, expected, strict=False):
        torch.testing.assert_close(parameter.grad, torch.tensor(gradient))
    assert parameters[-1].grad is None


def test_no_clipping_by_default_and_unknown_kind():
    parameters = with_gradients([3.0, -4.0])
    build_gradient_clipper(solver_cfg())(parameters)
    assert parameters[0].grad.tolist() == [3.0, -4.0]
    cfg = solver_cfg("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full")
    with pytest.raises(
        ValueError, match=r"CLIP_TYPE must be one of 'value', 'norm', 'full_model', not 'full'"
    ):
        build_gradient_clipper(cfg)


def rates(*options, max_iter=100):
    """The learning rate of every iteration."""
    cfg = solver_cfg("SOLVER.MAX_ITER", max_iter, "SOLVER.WARMUP_ITERS", 0, *options)
    cfg.SOLVER.BASE_LR = 1.0
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(max_iter):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_steps():
    found = rates("SOLVER.STEPS", (60, 90))
    assert found == pytest.approx([1.0] * 60 + [0.1] * 30 + [0.01] * 10)


@pytest.mark.parametrize("steps", [(), (100,), (5000,)])
def test_steps_behind_the_end_change_nothing(steps):
    assert rates("SOLVER.STEPS", steps) == [1.0] * 100


def test_linear_decay_ends_at_zero():
    found = rates("SOLVER.LR_SCHEDULER_NAME", "WarmupLinearLR")
    assert found == pytest.approx([1 - t / 100 for t in range(100)])


def test_cosine():
    found = rates("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR")
    assert found == pytest.approx([(1 + math.cos(math.pi * t / 100)) / 2 for t in range(100)])


def test_constant_warm_up():
    found = rates(
        *override_list(
            {
                "SOLVER.LR_SCHEDULER_NAME": "WarmupLinearLR",
                "SOLVER.WARMUP_METHOD": "constant",
                "SOLVER.WARMUP_FACTOR": 1 / 3,
                "SOLVER.WARMUP_ITERS": 10,
            }
        ),
    )
    assert found == pytest.approx([1 / 3] * 10 + [1 - t / 100 for t in range(10, 100)])


def test_linear_warm_up_meets_the_schedule():
    found = rates(
        *override_list(
            {
                "SOLVER.LR_SCHEDULER_NAME": "WarmupLinearLR",
                "SOLVER.WARMUP_METHOD": "linear",
                "SOLVER.WARMUP_FACTOR": 0.1,
                "SOLVER.WARMUP_ITERS": 10,
            }
        ),
    )
    ramp = [0.1 + (0.9 - 0.1) * t / 10 for t in range(10)]
    assert found == pytest.approx(ramp + [1 - t / 100 for t in range(10, 100)])


@pytest.mark.parametrize("max_iter", [1, 2, 5, 100])
def test_warm_up_longer_than_the_training(max_iter):
    found = rates("SOLVER.WARMUP_ITERS", 1000, "SOLVER.WARMUP_FACTOR", 0.5, max_iter=max_iter)
    assert all(0 < rate <= 1 for rate in found)
    assert found == sorted(found)


def test_unknown_schedule_and_no_iterations():
    with pytest.raises(
        ValueError, match=r"LR_SCHEDULER_NAME must be one of 'WarmupMultiStepLR', .*not 'Poly'"
    ):
        rates("SOLVER.LR_SCHEDULER_NAME", "Poly")
    with pytest.raises(ValueError, match=r"SOLVER.MAX_ITER must be at least 1, not 0"):
        rates(max_iter=0)


def test_epochs_become_iterations():
    cfg = solver_cfg("SOLVER.MAX_EPOCH", 3, "SOLVER.STEPS_EPOCH", (1, 2), "SOLVER.IMS_PER_BATCH", 16)
    cfg.freeze()
    resolved = resolve_epochs(cfg, 100)
    assert resolved.SOLVER.MAX_ITER == 19  # 18.75 rounded up: the last epoch is seen whole
    assert resolved.SOLVER.STEPS == (6, 12)
    assert resolved.is_frozen()
    assert cfg.SOLVER.MAX_ITER == 40000, "the given config stays as it was"


def test_iterations_stay_without_epochs():
    cfg = solver_cfg("SOLVER.MAX_ITER", 7, "SOLVER.STEPS", (3,))
    resolved = resolve_epochs(cfg, 100)
    assert (resolved.SOLVER.MAX_ITER, resolved.SOLVER.STEPS) == (7, (3,))
    assert not resolved.is_frozen()
