"""The start of a decoder: ``ProposalHead`` selects cells of the encoder and predicts a pose at each.

Letters: N images, R cells of all levels, Q queries, K keypoints, C classes, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posecore.layers.deform_transformer import PyramidCells
from posecore.layers.feed_forward import MLP, draw_linear_weights
from posecore.layers.precision import full_precision

# Centers of cells that may be selected are farther than this from the border, in widths and heights.
BORDER = 0.01


@dataclass(frozen=True)
class Proposals:
    """The selected cells of each image, best first, and the poses that are predicted there.

    Attributes:
        logits: (N, Q, C).
        keypoints: (N, Q, K, 2), x and y in widths and heights of the image.
        features: (N, Q, D) of the cells.
        cells: (N, Q) int64 indices of the cells.
    """

    logits: Tensor
    keypoints: Tensor
    features: Tensor
    cells: Tensor


class ProposalHead(nn.Module):
    """Selects the cells with the highest logit of any class, and predicts keypoints around their centers.

    Cells of padding and at the border of the image are selected only where there are too few others.

    Args:
        width: D.
        num_classes: C.
        num_keypoints: K.
        num_queries: Q; fewer where the levels have fewer cells.
    """

    def __init__(self, width: int, num_classes: int, num_keypoints: int, num_queries: int) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)
        self.regressor = MLP(width, 2 * width, 2 * width, 2 * width, 2 * num_keypoints)
        draw_linear_weights(self.project)

    def forward(self, memory: PyramidCells) -> Proposals:
        """The proposals of N images, in full precision also under autocast."""
        selectable = selectable_cells(memory)
        features = self.norm(self.project(memory.values * selectable[..., None]))
        logits = full_precision(self.classifier(features))
        scores = logits.detach().amax(dim=-1).masked_fill(~selectable, -torch.inf)
        cells = scores.topk(torch.sym_min(self.num_queries, scores.shape[1]), dim=1).indices
        features, logits, centers = (_take(x, cells) for x in (features, logits, memory.centers))
        # Centers of selectable cells are not changed by the limits; those of others get finite logits.
        starts = centers.clamp(BORDER, 1 - BORDER).logit()[:, :, None]
        offsets = full_precision(self.regressor(features)).unflatten(-1, (-1, 2))
        return Proposals(logits, (starts + offsets).sigmoid(), features, cells)


def selectable_cells(memory: PyramidCells) -> Tensor:
    """(N, R) bool, True where a cell is no padding and its center is not at the border of the image."""
    inside = ((memory.centers > BORDER) & (memory.centers < 1 - BORDER)).all(dim=-1)
    return inside & ~memory.padding


def _take(values: Tensor, cells: Tensor) -> Tensor:
    """(N, R, E) values and (N, Q) indices -> (N, Q, E)."""
    return values.gather(1, cells[..., None].expand(-1, -1, values.shape[-1]))
