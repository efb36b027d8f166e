"""The losses of a model on what it is not trained with (the dashed lines of POET's Figure 4)."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn

from posecore.data import build_labeled_loader, labeled_records
from posecore.modeling.estimator import PoseEstimator


def check_validation(cfg: CfgNode, model: nn.Module) -> None:
    """Whether TEST.LOSSES can be had, so that it need not show after an hour of training.

    Raises:
        FileNotFoundError, ValueError: not of these datasets.
        TypeError: not of such a model: its parts decide each for itself what training is.
    """
    _estimator(model)
    for name in cfg.DATASETS.TEST:
        labeled_records(cfg, name)


def validation_losses(cfg: CfgNode, model: nn.Module) -> dict[str, dict[str, float]]:
    """By dataset of DATASETS.TEST and name the losses, in all processes.

    Raises:
        FileNotFoundError, ValueError, TypeError: see :func:`check_validation`.
    """
    estimator = _estimator(model)
    return {name: mean_losses(estimator, build_labeled_loader(cfg, name)) for name in cfg.DATASETS.TEST}


@torch.no_grad()
def mean_losses(model: PoseEstimator, batches: Iterable[list[dict]]) -> dict[str, float]:
    """The mean of every loss over the samples of all processes.

    The model's parts work as in evaluation, without dropout and with the norms' running statistics. It is
    left as it was.

    Args:
        model: whose losses.
        batches: of training samples, one or more; as many in every process.
    """
    mode = model.training
    model.eval()
    # Of the whole model this alone asks for losses: its parts stay in evaluation.
    model.training = True
    try:
        totals, count = _totals(model, batches)
    finally:
        model.train(mode)
    numbers = torch.stack([*totals.values(), count])
    if comm.get_world_size() > 1:
        dist.all_reduce(numbers)
    *values, samples = numbers.tolist()
    return {name: value / samples for name, value in zip(totals, values, strict=True)}


def _estimator(model: nn.Module) -> PoseEstimator:
    if not isinstance(model, PoseEstimator):
        raise TypeError(f"TEST.LOSSES works with PoseEstimator models; {type(model).__name__} is none")
    return model


def _totals(model: PoseEstimator, batches: Iterable[list[dict]]) -> tuple[dict[str, Tensor], Tensor]:
    """The sum of each loss over samples, and how many there were."""
    totals: dict[str, Tensor] = {}
    count = torch.zeros((), device=model.device)
    for batch in batches:
        for name, loss in model(batch).items():
            totals[name] = totals.get(name, 0) + loss.float() * len(batch)
        count += len(batch)
    return totals, count
