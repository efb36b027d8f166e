"""One step of optimization, :class:`TrainingStep`: forward, backward, clipping, update."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn
from torch.optim import Optimizer


def _no_clipping(parameters: Iterable[nn.Parameter]) -> None:
    """Leaves the gradients as they are."""


class TrainingStep:
    """Trains a model on one batch per call, in float32 or under autocast.

    Losses are averaged over all processes, so every process has the same numbers, and all stop together
    without an update when one of them is infinite or NaN.

    Args:
        model: takes a batch and returns a dict of losses, with the same keys in every step and process.
        optimizer: of the model's parameters.
        clip_gradients: clips the gradients of parameters in place, before the update.
        amp_dtype: type of autocast in the forward pass; with float16 losses are scaled so that gradients do
            not underflow, and a step whose gradients overflow makes no update. None for no autocast.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        clip_gradients: Callable[[Iterable[nn.Parameter]], object] = _no_clipping,
        amp_dtype: torch.dtype | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._clip_gradients = clip_gradients
        self._amp_dtype = amp_dtype
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._device = self._parameters[0].device.type
        self.scaler = torch.amp.GradScaler(self._device, enabled=amp_dtype == torch.float16)

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, float]:
        """Makes one step.

        Args:
            batch: the samples of this process.

        Returns:
            The losses by name; "total_loss", their sum; "grad_norm", the norm of all gradients together
            before clipping, missing where float16 overflowed.

        Raises:
            FloatingPointError: a loss or a gradient is infinite or NaN; the message names the losses and the
                images.
        """
        with torch.autocast(self._device, dtype=self._amp_dtype, enabled=self._amp_dtype is not None):
            losses = self.model(batch)
        self.optimizer.zero_grad()
        self.scaler.scale(sum(losses.values())).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self._parameters if p.grad is not None])
        metrics, grad_norm, is_ours = _read(losses, norm)
        metrics["total_loss"] = sum(metrics.values())
        if not math.isfinite(metrics["total_loss"]):
            names = _names(batch) if is_ours else "those of another process"
            raise FloatingPointError(f"a loss is not finite: {metrics}; the images are {names}")
        if math.isfinite(grad_norm):
            metrics["grad_norm"] = grad_norm
        elif not self.scaler.is_enabled():
            raise FloatingPointError(
                f"losses are finite, {metrics}, but their gradient is not; the images are {_names(batch)}"
            )
        self._clip_gradients(self._parameters)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return metrics


def _read(losses: dict[str, Tensor], norm: Tensor) -> tuple[dict[str, float], float, bool]:
    """The mean of each loss over all processes, the norm, and whether a loss of this process is not finite.

    All are read from the device at once, so that the CPU waits for it only once.
    """
    own = torch.stack([loss.detach().float() for loss in losses.values()])
    mean = own / comm.get_world_size()
    if comm.get_world_size() > 1:
        dist.all_reduce(mean)
    *values, number, broken = torch.cat([mean, norm.view(1), (~own.isfinite()).any().view(1)]).tolist()
    return dict(zip(losses, values, strict=True)), number, bool(broken)


def _names(batch: list[dict[str, Any]]) -> str:
    return ", ".join(str(sample.get("file_name", "without a name")) for sample in batch)
