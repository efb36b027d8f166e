"""Exponential moving averages of a model's weights during training: :func:`average_model`.

Evaluations use them instead of the weights that the optimizer changes, because they vary less from step to
step.
"""

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_model(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of a model whose weights become averages of the model's.

    Each ``update_parameters(model)`` takes ``decay`` of the averages so far and 1 - ``decay`` of the model's
    weights; the first one copies them. So that random initial weights are forgotten soon, update n uses
    min(decay, (1 + n) / (10 + n)). Running statistics of norms are averaged like weights; counters and
    indices are copied.

    Args:
        model: not in ``DistributedDataParallel``.
        decay: in [0, 1).

    Raises:
        ValueError: ``decay`` is outside of that.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"SOLVER.EMA.DECAY must be at least 0 and below 1, not {decay}")

    def average(averages: Tensors, values: Tensors, num_averaged: Tensor | int) -> None:
        if not averages[0].is_floating_point():
            for own, value in zip(averages, values, strict=True):
                own.copy_(value)
            return
        number = int(num_averaged)
        update = get_ema_multi_avg_fn(min(decay, (1 + number) / (10 + number)))
        update(averages, values, num_averaged)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
