"""The running statistics of BatchNorms in several processes: :func:`average_norm_statistics`."""

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def average_norm_statistics(*models: nn.Module) -> None:
    """Gives the BatchNorms of all processes the same running statistics, the means over the processes.

    A BatchNorm has the statistics of the images of its own process alone, unless it is a SyncBatchNorm.
    Without this, a checkpoint would hold those of the main process, and an evaluation in several processes
    would evaluate as many models. Statistics that agree already, such as those of a SyncBatchNorm, stay as
    they are to the last bit. To be called in all processes, which must hold the same models.

    Args:
        models: whose ``running_mean`` and ``running_var`` are changed in place.
    """
    if comm.get_world_size() == 1:
        return
    norms = (norm for model in models for norm in model.modules() if isinstance(norm, _BatchNorm))
    statistics = [
        values for norm in norms for values in (norm.running_mean, norm.running_var) if values is not None
    ]
    if not statistics:
        return
    # In double precision, so that the mean of equal numbers is that number; all in one exchange.
    means = torch.cat([values.flatten().double() for values in statistics])
    dist.all_reduce(means)
    means /= comm.get_world_size()
    for values, mean in zip(statistics, means.split([values.numel() for values in statistics]), strict=True):
        values.copy_(mean.view_as(values))
