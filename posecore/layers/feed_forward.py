"""Feed-forward parts of transformers: :class:`MLP`, :class:`FeedForward` and :class:`Residual`.

D is the width of the network.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: of the input, of each hidden layer, of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) -> (..., last width)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)

    def start_at_zero(self) -> None:
        """Sets the last layer to zero, so that the result is 0 whatever the input."""
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)


class FeedForward(nn.Sequential):
    """Two linear layers, applied to every cell or query alone; (..., D) -> (..., D)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(hidden, width)
        )


class Residual(nn.Module):
    """Adds the output of a sublayer to its input, and normalizes the sum (post-norm)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        """(..., D) input and output of the sublayer -> (..., D)."""
        return self.norm(x + self.dropout(update))


def draw_linear_weights(module: nn.Module) -> None:
    """Draws the matrix of every linear layer in a module from Xavier's uniform distribution."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
