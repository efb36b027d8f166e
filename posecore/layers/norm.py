"""Normalization layers by name."""

import math

from detectron2.layers import get_norm as detectron2_norm
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from torch import nn

# GroupNorm's usual number of groups, and the fewest channels of one: a group of a single channel would
# have nothing to average over on a 1x1 map.
NORM_GROUPS = 32
NORM_GROUP_WIDTH = 4


def make_norm(name: str, channels: int, norm_groups: int | None = None) -> nn.Module:
    """The layer called ``name`` for ``channels`` channels.

    Args:
        name: "GN", "" (none), or any name that Detectron2's ``get_norm`` knows (BN, SyncBN, FrozenBN).
        channels: C of the maps.
        norm_groups: groups of a GroupNorm; by default 32, or fewer that divide C into groups of four
            channels or more.
    """
    if name == "":
        return nn.Identity()
    if name == "GN":
        groups = norm_groups or math.gcd(NORM_GROUPS, max(channels // NORM_GROUP_WIDTH, 1))
        return nn.GroupNorm(math.gcd(groups, channels), channels)
    try:
        return detectron2_norm(name, channels)
    except KeyError:
        raise ValueError(f"unknown norm {name!r}: use GN, BN, SyncBN, FrozenBN or an empty string") from None


# timm's own conversions keep the activation that is part of some of its BatchNorms.
_CONVERSIONS = {
    "BN": lambda model: model,
    "FrozenBN": freeze_batch_norm_2d,
    "SyncBN": convert_sync_batchnorm,
}


def convert_norms(model: nn.Module, kind: str, key: str) -> nn.Module:
    """The model with its BatchNorms trained ("BN"), constant ("FrozenBN") or over all processes ("SyncBN").

    Args:
        model: changed in place, unless it is a BatchNorm itself.
        kind: one of these.
        key: of the configuration, for the message.

    Raises:
        ValueError: it is none of these.
    """
    if kind not in _CONVERSIONS:
        raise ValueError(f"{key} must be one of {sorted(_CONVERSIONS)}, got {kind!r}")
    return _CONVERSIONS[kind](model)
