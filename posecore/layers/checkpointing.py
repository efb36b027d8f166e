"""Activation checkpointing of a network's blocks: :func:`checkpoint_blocks`.

A block keeps its input alone for the backward pass, and computes its inner maps again there.

Source: Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174), section 4.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_WEIGHTED = (nn.Conv2d, nn.Linear)


def checkpoint_blocks(network: nn.Module) -> list[nn.Module]:
    """Makes all blocks of a network compute their inner maps again in the backward pass; in place.

    Losses, gradients, running statistics of norms and random numbers are those without it, and no name of a
    parameter changes.

    Args:
        network: a ResNet, or any network whose blocks are called as modules.

    Returns:
        The blocks, see :func:`find_blocks`.

    Raises:
        ValueError: the network has no blocks.
    """
    blocks = find_blocks(network)
    if not blocks:
        raise ValueError(f"{type(network).__name__} has no blocks of several layers to checkpoint")
    for block in blocks:
        # A partial of the module, and no closure, so that a deep copy of it runs the copy.
        block.forward = partial(_forward, block)
    return blocks


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network: elements of its sequences, or else modules, with several weighted layers.

    A residual block is one, and so is an HRNet's module of parallel branches. No block lies in another.
    """
    in_sequence = isinstance(network, nn.Sequential | nn.ModuleList)
    blocks: list[nn.Module] = []
    for child in network.children():
        if sum(isinstance(module, _WEIGHTED) for module in child.modules()) < 2:
            continue
        is_module = not isinstance(child, _CONTAINERS)
        inner = [] if in_sequence and is_module else find_blocks(child)
        blocks += inner or ([child] if is_module else [])
    return blocks


def _forward(block: nn.Module, *args: Any) -> Any:
    if not torch.is_grad_enabled():
        return type(block).forward(block, *args)
    return checkpoint(_run, block, *args, use_reentrant=False, context_fn=partial(_contexts, block))


def _run(block: nn.Module, *args: Any) -> Any:
    # Lists are copied, because timm's HRNet writes the results of its branches into the list that it is
    # given, and the repetition in the backward pass needs the list as it was.
    copies = (list(arg) if isinstance(arg, list) else arg for arg in args)
    return type(block).forward(block, *copies)


def _contexts(block: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """The contexts of the forward pass, and of its repetition in the backward pass."""
    return nullcontext(), _unchanged_statistics(block)


@contextmanager
def _unchanged_statistics(block: nn.Module) -> Iterator[None]:
    """Within it, norms in training do not update their running statistics, which have seen the batch."""
    norms: list[Any] = [norm for norm in block.modules() if isinstance(norm, nn.modules.batchnorm._NormBase)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, before, strict=True):
        # A copy of the counter, because SyncBatchNorm does not work without one.
        norm.momentum, norm.num_batches_tracked = 0.0, None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
