"""Which keypoints look at which: the weights of self-attention (supplement, Figure 2)."""

from typing import Any

import torch
from torch import Tensor, nn

from poseur.decoder import SelfAttention
from poseur.poseur import Poseur


@torch.no_grad()
def keypoint_attention(model: Poseur, crops: Tensor) -> Tensor:
    """The weights of each layer's self-attention, the mean of its heads.

    Args:
        model: with self-attention, in evaluation mode.
        crops: (M, C, h, w), 0-255, in the order of ``cfg.INPUT.FORMAT``.

    Returns:
        (L, M, K, K): how much each keypoint, by rows, looks at each one, by columns; rows sum to 1.

    Raises:
        ValueError: the model has no self-attention.
    """
    found: list[Tensor] = []

    def record(module: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(module, SelfAttention)
        found.append(module.weights(*inputs)[:, 0])

    attentions = [module for module in model.modules() if isinstance(module, SelfAttention)]
    if not attentions:
        raise ValueError(
            "the model has no self-attention: MODEL.POSEUR.SELF_ATTENTION must be True and NUM_LAYERS above 0"
        )
    hooks = [attention.register_forward_hook(record) for attention in attentions]
    try:
        model.predictions(model.preprocess([{"crops": crops}]).tensor)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)
