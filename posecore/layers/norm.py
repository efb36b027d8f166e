"""Normalization layers: :func:`make_norm` makes one, :func:`convert_batch_norms` changes a network's."""

import math
from collections.abc import Callable
from typing import Any, Literal

import timm.layers
import torch.nn.functional as F
import torchvision
from detectron2.layers import get_norm as detectron2_norm
from torch import Tensor, nn

# GroupNorm's usual number of groups, and the fewest channels of one: a group of a single channel would
# have nothing to average over on a 1x1 map.
NORM_GROUPS = 32
NORM_GROUP_WIDTH = 4

# Forms of the BatchNorms of a network: trained, constant, and trained over all processes together.
BatchNorm = Literal["BN", "FrozenBN", "SyncBN"]
# The options of keys that name such a form.
BATCH_NORMS: dict[str, BatchNorm] = {"BN": "BN", "FrozenBN": "FrozenBN", "SyncBN": "SyncBN"}


def make_norm(name: str, channels: int, norm_groups: int | None = None) -> nn.Module:
    """The layer called ``name`` for ``channels`` channels.

    Args:
        name: "GN", "" (none), or any name that Detectron2's ``get_norm`` knows (BN, SyncBN, FrozenBN).
        channels: C of the maps.
        norm_groups: groups of a GroupNorm; by default 32, or fewer that divide C into groups of four
            channels or more.

    Raises:
        ValueError: the name is unknown.
    """
    if name == "":
        return nn.Identity()
    if name == "GN":
        groups = norm_groups or math.gcd(NORM_GROUPS, max(channels // NORM_GROUP_WIDTH, 1))
        return nn.GroupNorm(math.gcd(groups, channels), channels)
    try:
        return detectron2_norm(name, channels)
    except KeyError:
        raise ValueError(
            f"a norm must be one of 'GN', 'BN', 'SyncBN', 'FrozenBN', '', not {name!r}"
        ) from None


def convert_batch_norms(model: nn.Module, form: BatchNorm) -> nn.Module:
    """Brings all BatchNorms of a model into a form; in place, unless the model is a BatchNorm itself."""
    return _CONVERSIONS[form](model)


class FrozenBatchNorm2d(torchvision.ops.FrozenBatchNorm2d):
    """torchvision's constant BatchNorm, in one pass over the map where no gradient goes through it."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return super().forward(x) if x.requires_grad else _normalize(self, x)


class FrozenBatchNormAct2d(timm.layers.FrozenBatchNormAct2d):
    """timm's constant BatchNorm with an activation, in one pass where no gradient goes through it."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return super().forward(x) if x.requires_grad else self.act(self.drop(_normalize(self, x)))


def _normalize(norm: Any, x: Tensor) -> Tensor:
    """What either of the constant norms computes, without its activation."""
    # With gradients, F.batch_norm would keep x and compute those of the constants too.
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


def _freeze(model: nn.Module) -> nn.Module:
    model = timm.layers.freeze_batch_norm_2d(model)
    for module in model.modules():
        if type(module) is torchvision.ops.FrozenBatchNorm2d:
            module.__class__ = FrozenBatchNorm2d
        elif type(module) is timm.layers.FrozenBatchNormAct2d:
            module.__class__ = FrozenBatchNormAct2d
    return model


# timm's conversions, because they keep the activation that is part of some of its BatchNorms.
_CONVERSIONS: dict[BatchNorm, Callable[[nn.Module], nn.Module]] = {
    "BN": lambda model: model,
    "FrozenBN": _freeze,
    "SyncBN": timm.layers.convert_sync_batchnorm,
}
