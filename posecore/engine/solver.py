"""Optimizers, gradient clipping, learning-rate schedules and lengths in epochs, from the keys of SOLVER."""

import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver.build import reduce_param_groups
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)
from torch import nn
from torch.optim import Optimizer

from posecore.config.options import choice

_NORMS = (
    nn.modules.batchnorm._NormBase,  # every BatchNorm and InstanceNorm, synced or not
    nn.GroupNorm,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """SGD or AdamW on the parameters of ``model`` that require a gradient.

    Raises:
        ValueError: SOLVER.OPTIMIZER is unknown, an entry of SOLVER.LR_FACTORS or WEIGHT_DECAY_FACTORS fits
            no parameter, or no parameter requires a gradient.
    """
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        lr_factors=solver.LR_FACTORS,
        weight_decay_factors=solver.WEIGHT_DECAY_FACTORS,
    )
    optimizers: dict[str, Callable[..., Optimizer]] = {
        "SGD": partial(torch.optim.SGD, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV),
        "ADAMW": torch.optim.AdamW,
    }
    return choice(cfg, "SOLVER.OPTIMIZER", optimizers)(groups, lr=solver.BASE_LR)


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float = 1.0,
    weight_decay_bias: float | None = None,
    lr_factors: Sequence[tuple[str, float]] = (),
    weight_decay_factors: Sequence[tuple[str, float]] = (),
) -> list[dict[str, Any]]:
    """The fewest parameter groups that give every parameter its learning rate and weight decay.

    Decays have Detectron2's meaning: ``weight_decay_norm`` is for the scales and shifts of norm layers,
    ``weight_decay_bias`` for every parameter called ``bias``, also those of norm layers; None means
    ``weight_decay``. Learning-rate factors multiply: a bias under a name that fits two of
    ``lr_factors`` learns at ``lr * bias_lr_factor * factor * factor``.

    Args:
        model: the groups hold its parameters that require a gradient.
        lr: learning rate.
        weight_decay: of all parameters without a decay of their own.
        weight_decay_norm: of norm layers.
        bias_lr_factor: factor of the learning rate of biases.
        weight_decay_bias: of biases.
        lr_factors: (regular expression found in the parameter's full name, factor) pairs.
        weight_decay_factors: the same for weight decays.

    Raises:
        ValueError: a pair is malformed or fits no parameter, or no parameter requires a gradient.
    """
    _check_factors(model, "SOLVER.LR_FACTORS", lr_factors)
    _check_factors(model, "SOLVER.WEIGHT_DECAY_FACTORS", weight_decay_factors)
    groups: list[dict[str, Any]] = []
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            decay = weight_decay
            if isinstance(module, _NORMS) and weight_decay_norm is not None:
                decay = weight_decay_norm
            if name == "bias" and weight_decay_bias is not None:
                decay = weight_decay_bias
            full_name = f"{prefix}.{name}" if prefix else name
            factor = _factor(full_name, lr_factors)
            decay *= _factor(full_name, weight_decay_factors)
            if name == "bias":
                factor *= bias_lr_factor
            groups.append({"params": [parameter], "lr": lr * factor, "weight_decay": decay})
    if not groups:
        raise ValueError("no parameter of the model requires a gradient: there is nothing to train")
    return reduce_param_groups(groups)


def _factor(name: str, factors: Sequence[tuple[str, float]]) -> float:
    return math.prod(factor for part, factor in factors if re.search(part, name))


def _check_factors(model: nn.Module, key: str, factors: Sequence[tuple[str, float]]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for entry in factors:
        if len(entry) != 2 or not isinstance(entry[0], str) or not isinstance(entry[1], (int, float)):
            raise ValueError(f"{key}: {entry!r} is not a (regular expression, factor) pair")
        if not any(re.search(entry[0], name) for name in names):
            raise ValueError(
                f"{key}: {entry[0]!r} is found in no parameter's name; "
                f"the first and last names are {names[0]!r} and {names[-1]!r}"
            )


def build_gradient_clipper(cfg: CfgNode) -> Callable[[Iterable[nn.Parameter]], object]:
    """A function that clips the gradients of parameters in place, as SOLVER.CLIP_GRADIENTS asks for.

    CLIP_TYPE "value" bounds each element, "norm" each parameter's norm (both as Detectron2 does),
    "full_model" the norm of all gradients together.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return lambda parameters: None
    limit, norm_type = clip.CLIP_VALUE, clip.NORM_TYPE
    clippers: dict[str, Callable[[Iterable[nn.Parameter]], object]] = {
        "value": partial(nn.utils.clip_grad_value_, clip_value=limit),
        "norm": partial(_clip_each_norm, max_norm=limit, norm_type=norm_type),
        "full_model": partial(nn.utils.clip_grad_norm_, max_norm=limit, norm_type=norm_type),
    }
    return choice(cfg, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clippers)


def _clip_each_norm(parameters: Iterable[nn.Parameter], max_norm: float, norm_type: float) -> None:
    for parameter in parameters:
        nn.utils.clip_grad_norm_(parameter, max_norm, norm_type)


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer) -> LRMultiplier:
    """The learning-rate schedule SOLVER.LR_SCHEDULER_NAME with its warm-up, to be stepped once per iteration.

    With t the iteration and T = SOLVER.MAX_ITER every learning rate is its initial value times

    * "WarmupMultiStepLR": GAMMA to the number of STEPS that are not above t;
    * "WarmupLinearLR": 1 - t / T;
    * "WarmupCosineLR": (1 + cos(pi t / T)) / 2;

    and in the first WARMUP_ITERS iterations times WARMUP_FACTOR ("constant"), or on the line from there
    to the schedule's value at their end ("linear").
    """
    solver = cfg.SOLVER
    if solver.MAX_ITER < 1:
        raise ValueError(f"SOLVER.MAX_ITER must be at least 1, not {solver.MAX_ITER}")
    schedules: dict[str, Callable[[], ParamScheduler]] = {
        "WarmupMultiStepLR": lambda: _multi_step(sorted(solver.STEPS), solver.GAMMA, solver.MAX_ITER),
        "WarmupLinearLR": lambda: LinearParamScheduler(1, 0),
        "WarmupCosineLR": lambda: CosineParamScheduler(1, 0),
    }
    schedule = choice(cfg, "SOLVER.LR_SCHEDULER_NAME", schedules)()
    # fvcore's schedules are functions of t / T on [0, 1), so the warm-up ends before the training does.
    warmup = min(solver.WARMUP_ITERS, solver.MAX_ITER - 1) / solver.MAX_ITER
    if warmup > 0:
        schedule = WarmupParamScheduler(schedule, solver.WARMUP_FACTOR, warmup, solver.WARMUP_METHOD)
    return LRMultiplier(optimizer, schedule, solver.MAX_ITER)


def _multi_step(steps: list[int], gamma: float, max_iter: int) -> ParamScheduler:
    reached = [step for step in steps if step < max_iter]
    if reached != steps:
        ignored = steps[len(reached) :]
        logging.getLogger(__name__).warning(
            "SOLVER.STEPS %s are not reached, because training ends at SOLVER.MAX_ITER %d", ignored, max_iter
        )
    if not reached:
        return LinearParamScheduler(1, 1)
    return MultiStepParamScheduler(
        [gamma**drops for drops in range(len(reached) + 1)], num_updates=max_iter, milestones=reached
    )


def resolve_epochs(cfg: CfgNode, images_per_epoch: int) -> CfgNode:
    """A copy of ``cfg`` with MAX_ITER and STEPS computed from MAX_EPOCH and STEPS_EPOCH, where these are set.

    One epoch is ``images_per_epoch / SOLVER.IMS_PER_BATCH`` iterations. All other lengths (WARMUP_ITERS,
    CHECKPOINT_PERIOD, TEST.EVAL_PERIOD) are in iterations anyway.
    """
    solver = cfg.SOLVER
    iterations = images_per_epoch / solver.IMS_PER_BATCH
    frozen = cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    if solver.MAX_EPOCH > 0:
        cfg.SOLVER.MAX_ITER = math.ceil(solver.MAX_EPOCH * iterations)
    if solver.STEPS_EPOCH:
        cfg.SOLVER.STEPS = tuple(round(epoch * iterations) for epoch in solver.STEPS_EPOCH)
    if frozen:
        cfg.freeze()
    return cfg
