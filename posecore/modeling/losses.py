"""What sums over a batch are divided by, where several processes have a part of the batch each.

A normalizer is a total over all processes: with the gradients averaged over processes, as
DistributedDataParallel does, W processes then compute what one would on the joined batch, whatever
each of them holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from detectron2.utils import comm
from torch import Tensor


@dataclass(frozen=True)
class Term:
    """A loss before it is divided.

    Attributes:
        total: scalar with gradient.
        count: scalar, what to divide it by.
    """

    total: Tensor
    count: Tensor


def mean_over_processes(
    totals: Mapping[str, Tensor | float], *, floor: float = 1.0, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Normalizers for losses that are sums over the local batch, in one exchange.

    Args:
        totals: name -> local count or sum of weights.
        floor: the least that a total over all processes counts as.
        device: of the result.

    Returns:
        name -> max(total over processes, floor) / number of processes, a float32 scalar without gradient.
    """
    with torch.no_grad():
        values = torch.stack(
            [torch.as_tensor(total, dtype=torch.float32, device=device) for total in totals.values()]
        )
    world_size = comm.get_world_size()
    if world_size > 1:
        torch.distributed.all_reduce(values)
    return dict(zip(totals, values.clamp(min=floor) / world_size, strict=True))
