"""Losses of a model on test datasets: :func:`validation_losses` (the dashed lines of POET's Figure 4)."""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import Tensor, nn

from posecore.data import build_labeled_loader, labeled_records
from posecore.modeling.estimator import PoseEstimator


def check_validation(cfg: CfgNode, model: nn.Module) -> None:
    """Checks before a training that TEST.LOSSES works with its datasets and its model.

    Raises:
        FileNotFoundError, ValueError: a dataset of DATASETS.TEST cannot be used, or has too few persons.
        TypeError: the model is no :class:`PoseEstimator`.
    """
    _estimator(model)
    for name in cfg.DATASETS.TEST:
        labeled_records(cfg, name)


def validation_losses(cfg: CfgNode, model: nn.Module) -> dict[str, dict[str, float]]:
    """The losses on each dataset of DATASETS.TEST, in all processes: dataset -> name -> value.

    Raises:
        FileNotFoundError, ValueError, TypeError: see :func:`check_validation`.
    """
    estimator = _estimator(model)
    return {name: mean_losses(estimator, build_labeled_loader(cfg, name)) for name in cfg.DATASETS.TEST}


@torch.no_grad()
def mean_losses(model: PoseEstimator, batches: Iterable[list[dict]]) -> dict[str, float]:
    """The mean of every loss over the samples of all processes.

    The model is put into evaluation mode, so there is no dropout and norms use their running statistics, and
    then back into the mode it had.

    Args:
        model: computes the losses.
        batches: of training samples, one or more; as many in every process.
    """
    mode = model.training
    model.eval()
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
    """The sum of each loss over the samples, and the number of samples."""
    totals: dict[str, Tensor] = {}
    count = torch.zeros((), device=model.device)
    for batch in batches:
        for name, loss in model.compute_losses(batch).items():
            totals[name] = totals.get(name, 0) + loss.float() * len(batch)
        count += len(batch)
    return totals, count
