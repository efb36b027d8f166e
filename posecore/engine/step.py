"""One step of optimization, :class:`TrainingStep`: forward, backward, clipping, update."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from posecore.engine import random_state
from posecore.modeling.losses import AccumulatedCounts


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
        num_parts: the parts that the batch of each process is computed in, one after another, so that only
            one part is in memory. Gradients are those of the whole batch, as far as the network treats each
            sample by itself. With several parts, each but one runs a second time, without gradients, before
            it is trained on: the normalizers of all losses need the counts of the whole batch.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        clip_gradients: Callable[[Iterable[nn.Parameter]], object] = _no_clipping,
        amp_dtype: torch.dtype | None = None,
        num_parts: int = 1,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._clip_gradients = clip_gradients
        self._amp_dtype = amp_dtype
        self._num_parts = num_parts
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._device = self._parameters[0].device.type
        self.scaler = torch.amp.GradScaler(self._device, enabled=amp_dtype == torch.float16)

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, float]:
        """Makes one step.

        Args:
            batch: the samples of this process; their number is a multiple of that of the parts.

        Returns:
            The losses by name; "total_loss", their sum; "grad_norm", the norm of all gradients together
            before clipping, missing where float16 overflowed.

        Raises:
            FloatingPointError: a loss or a gradient is infinite or NaN; the message names the losses and the
                images.
            ValueError: the batch cannot be split into equal parts.
        """
        self.optimizer.zero_grad()
        losses = self._accumulate(batch) if self._num_parts > 1 else self._backward(batch)
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

    def _backward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Adds the gradients of a batch, or a part of it, to those of the parameters; returns the losses."""
        losses = self._forward(batch)
        total: Any = sum(losses.values())
        self.scaler.scale(total / self._num_parts).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def _forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        with torch.autocast(self._device, dtype=self._amp_dtype, enabled=self._amp_dtype is not None):
            return self.model(batch)

    def _accumulate(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Computes the gradients of a batch part by part, and returns its losses.

        A part draws the same random numbers when its counts and when its gradients are computed.
        """
        *others, last = _split(batch, self._num_parts)
        counts = AccumulatedCounts(self._num_parts)
        states = []
        with torch.no_grad(), _unchanged_buffers(self.model), counts.collect():
            for part in others:
                states.append(random_state.capture())
                self._forward(part)
        with counts.apply():
            with self._without_exchange():
                losses = [self._backward(last)]
            end = random_state.capture()
            for number, (part, state) in enumerate(zip(others, states, strict=True), start=1):
                random_state.restore(state)
                # The exchange after the last of them is that of the sum over all parts.
                with self._without_exchange() if number < len(others) else nullcontext():
                    losses.append(self._backward(part))
            random_state.restore(end)
        return {name: torch.stack([own[name] for own in losses]).mean() for name in losses[0]}

    @contextmanager
    def _without_exchange(self) -> Iterator[None]:
        """Within it gradients are added up in each process and not averaged over the processes."""
        with self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext():
            yield


def _split(batch: list[dict[str, Any]], num_parts: int) -> list[list[dict[str, Any]]]:
    """Equal parts of a batch, in its order."""
    size, rest = divmod(len(batch), num_parts)
    if rest or not size:
        raise ValueError(
            f"SOLVER.ACCUMULATION_STEPS is {num_parts}, and a process has {len(batch)} samples of a batch: "
            "that must be a multiple of it"
        )
    return [batch[start : start + size] for start in range(0, len(batch), size)]


@contextmanager
def _unchanged_buffers(model: nn.Module) -> Iterator[None]:
    """Gives all buffers, such as running statistics of norms, their values back afterwards."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)


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
