"""The weights of self-attention between keypoints, for analysis (supplement, Figure 2)."""

from typing import Any

import torch
from torch import Tensor, nn

from poseur.decoder import SelfAttention
from poseur.poseur import Poseur


@torch.no_grad()
def keypoint_attention(model: Poseur, crops: Tensor) -> Tensor:
    """The weights of each layer's self-attention, the mean over its heads.

    Args:
        model: with self-attention, in evaluation mode.
        crops: (M, C, h, w), 0-255, in the order of ``cfg.INPUT.FORMAT``.

    Returns:
        (L, M, K, K) for L layers: the weight that a keypoint (row) gives to another one (column). Rows sum
        to 1.

    Raises:
        ValueError: the model has no self-attention.
    """
    weights: list[Tensor] = []

    def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(module, SelfAttention)
        weights.append(module.weights(*inputs)[:, 0])

    attentions = [module for module in model.modules() if isinstance(module, SelfAttention)]
    if not attentions:
        raise ValueError(
            "the model has no self-attention: MODEL.POSEUR.SELF_ATTENTION must be True and "
            "MODEL.POSEUR.NUM_LAYERS above 0"
        )
    hooks = [attention.register_forward_hook(record) for attention in attentions]
    try:
        model.predictions(model.preprocess([{"crops": crops}]).tensor)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(weights)
