"""Checks what a resumed training takes from a checkpoint beside the weights: :func:`check_state`.

torch loads states without looking at them: a number that is NaN, or momentum of another shape, would show
in later steps or not at all.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def check_state(state: Any, own: Any) -> None:
    """Checks that a saved state can be that of an object.

    Args:
        state: what the checkpoint holds.
        own: the object that is to take it: an optimizer, or anything whose ``state_dict()`` has plain numbers
            and tensors.

    Raises:
        ValueError: something in the state is not finite, or of another type or shape; the message names it.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"it must be a dict, not {type(state).__name__}")
    if isinstance(own, Optimizer):
        _check_optimizer(state, own)
    else:
        _check_like(state, own.state_dict(), "")


def _check_optimizer(state: Mapping, own: Optimizer) -> None:
    if not state.keys() >= {"state", "param_groups"}:
        raise ValueError("it must have state and param_groups")
    groups, entries = state["param_groups"], state["state"]
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        raise ValueError("param_groups must be a list of dicts")
    if not isinstance(entries, Mapping) or not all(isinstance(entry, Mapping) for entry in entries.values()):
        raise ValueError("state must be a dict of dicts")
    sizes = [len(group["params"]) for group in own.param_groups]
    if [len(group.get("params", ())) for group in groups] != sizes:
        raise ValueError("its groups of parameters are not those of this configuration")
    for saved, group in zip(groups, own.param_groups, strict=True):
        if not saved.keys() >= {"lr", "weight_decay"} or ("betas" in saved) != ("betas" in group):
            raise ValueError("it is of another SOLVER.OPTIMIZER")
        _check_numbers({name: value for name, value in saved.items() if name != "params"}, "param_groups")
    indices = [index for group in groups for index in group["params"]]
    parameters = [parameter for group in own.param_groups for parameter in group["params"]]
    by_index = dict(zip(indices, parameters, strict=True))
    for index, entry in entries.items():
        if index not in by_index:
            raise ValueError(f"state has an entry {index!r}, which is no parameter")
        for name, value in entry.items():
            where = f"{name} of parameter {index}"
            if isinstance(value, Tensor) and value.dim() > 0 and value.shape != by_index[index].shape:
                expected = tuple(by_index[index].shape)
                raise ValueError(f"{where} has shape {tuple(value.shape)}, not {expected}")
            _check_numbers(value, where)
            # Only counters and scalars may lack the shape of the parameter.
            if (
                isinstance(value, Tensor)
                and value.dim() == 0
                and by_index[index].dim() > 0
                and name != "step"
            ):
                raise ValueError(f"{where} has shape (), not {tuple(by_index[index].shape)}")


def _check_like(saved: Any, own: Any, where: str) -> None:
    """Checks that a value has the structure of another, and finite numbers."""
    if isinstance(own, Mapping):
        if not isinstance(saved, Mapping) or saved.keys() != own.keys():
            keys = sorted(map(str, saved)) if isinstance(saved, Mapping) else type(saved).__name__
            raise ValueError(f"{where or 'it'} must have the keys {sorted(map(str, own))}, not {keys}")
        for key, value in own.items():
            _check_like(saved[key], value, f"{where}.{key}" if where else str(key))
    elif isinstance(own, (list, tuple)):
        if not isinstance(saved, (list, tuple)) or len(saved) != len(own):
            raise ValueError(f"{where} must have {len(own)} values")
        for number, value in enumerate(own):
            _check_like(saved[number], value, f"{where}[{number}]")
    elif isinstance(own, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != own.shape:
            raise ValueError(f"{where} must be a tensor of shape {tuple(own.shape)}")
        _check_numbers(saved, where)
    elif isinstance(own, (int, float)):
        if not isinstance(saved, (int, float)):
            raise ValueError(f"{where} must be a number, not {saved!r:.50}")
        _check_numbers(saved, where)


def _check_numbers(value: Any, where: str) -> None:
    """Checks that the numbers in a value are finite, and that it holds no text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_numbers(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_numbers(item, where)
    elif isinstance(value, Tensor):
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{where} is not finite")
    elif isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}")
    elif value is not None:
        raise ValueError(f"{where} must be numbers, not {type(value).__name__}")
