"""The prediction head of POET: ``PoseHead``, from decoder states to classes and poses.

Letters: L decoder layers, N images, Q queries, D width of the transformer.
"""

from torch import Tensor, nn

from poet.codec import PoseCodec
from posecore.layers.feed_forward import MLP
from posecore.layers.precision import full_precision
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions


class PoseHead(nn.Module):
    """One linear layer for the class and three for the pose, shared by all decoder layers.

    All numbers of a pose go through a sigmoid.

    Args:
        width: D.
        num_classes: number of classes of persons.
        codec: converts the numbers to poses.
        no_object: whether "no object" is one more class, the last.
    """

    def __init__(self, width: int, num_classes: int, codec: PoseCodec, *, no_object: bool = True) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, num_classes + no_object)
        self.regressor = MLP(width, width, width, codec.num_values)
        self.codec = codec

    def forward(self, states: Tensor) -> Predictions[Poses]:
        """(L, N, Q, D) -> (L, N, Q) predictions, in full precision also under autocast."""
        vectors = full_precision(self.regressor(states)).sigmoid()
        return Predictions(full_precision(self.classifier(states)), self.codec.split(vectors))
