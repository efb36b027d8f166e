"""What a set-prediction network hands to the matcher and the criterion: the dataclass ``Predictions``.

Letters: L decoder layers, N images, Q queries, C logits of a query.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from posecore.modeling.set_prediction.poses import PredictedPoses, TensorFields

PosesT = TypeVar("PosesT", bound=PredictedPoses)


@dataclass(frozen=True)
class Predictions(TensorFields, Generic[PosesT]):
    """Classes and poses of all queries after each decoder layer.

    An index selects layers (``predictions[-1:]``), or further dimensions (``predictions[:, :, :Q]``).

    Attributes:
        logits: (L, N, Q, C); what they mean is up to the class cost and the class loss.
        poses: (L, N, Q) poses.
    """

    logits: Tensor
    poses: PosesT
