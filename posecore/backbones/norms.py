"""What becomes of a backbone's BatchNorms."""

from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from torch import nn

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
