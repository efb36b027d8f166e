"""The prediction head of POET: ``PoseHead``, from decoder states to classes and poses.

Letters: L decoder layers, N images, Q queries, D width of the transformer.
"""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from poet.codec import PoseCodec
from posecore.layers.precision import full_precision
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions


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


class PoseHead(nn.Module):
    """One linear layer for the class and three for the pose, shared by all decoder layers.

    All numbers of a pose go through a sigmoid.

    Args:
        width: D.
        num_classes: number of classes of persons; "no object" is one more, the last.
        codec: converts the numbers to poses.
    """

    def __init__(self, width: int, num_classes: int, codec: PoseCodec) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, num_classes + 1)
        self.regressor = MLP(width, width, width, codec.num_values)
        self.codec = codec

    def forward(self, states: Tensor) -> Predictions[Poses]:
        """(L, N, Q, D) -> (L, N, Q) predictions, in full precision also under autocast."""
        vectors = full_precision(self.regressor(states)).sigmoid()
        return Predictions(full_precision(self.classifier(states)), self.codec.split(vectors))
