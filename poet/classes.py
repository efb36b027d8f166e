"""How POET tells persons from queries without a person: ``ClassRule``.

Letters: C logits of a query.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from posecore.modeling.set_prediction.classification import (
    ClassCost,
    ClassLoss,
    FocalCost,
    FocalLoss,
    SoftmaxLoss,
    softmax_cost,
)

# The score of every query at the start of a training with sigmoids, so that the many without a person do not
# dominate (RetinaNet, Section 3.3).
PRIOR = 0.01


@dataclass(frozen=True)
class ClassRule:
    """What the logits of a query mean, in training and in prediction.

    Attributes:
        no_object: whether the last logit is that of "no object".
        cost: of giving a person a query.
        loss: of the queries of one decoder layer.
        scores: (..., C) logits -> (...) scores, and (...) int64 classes of detections.
    """

    no_object: bool
    cost: ClassCost
    loss: ClassLoss
    scores: Callable[[Tensor], tuple[Tensor, Tensor]]

    def start(self, classifier: nn.Linear) -> None:
        """Initializes the layer that predicts the logits."""
        if not self.no_object:
            nn.init.constant_(classifier.bias, math.log(PRIOR / (1 - PRIOR)))


def softmax_rule(no_object_weight: float) -> ClassRule:
    """Cross-entropy with "no object" as the last class, the paper's (Equations 1 and 3).

    Args:
        no_object_weight: weight of queries without a person in the loss.
    """
    return ClassRule(True, softmax_cost, SoftmaxLoss(no_object_weight), softmax_scores)


def focal_rule() -> ClassRule:
    """A sigmoid for each class and the focal loss, as in Deformable DETR."""
    return ClassRule(False, FocalCost(), FocalLoss(), sigmoid_scores)


def softmax_scores(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(..., C) logits, "no object" last -> (...) scores, and (...) int64 classes of detections.

    The score is the probability of the likeliest class other than "no object". The last of these classes is a
    person, class 0; any other becomes class 1.
    """
    return _likeliest(logits.softmax(dim=-1)[..., :-1])


def sigmoid_scores(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same of logits without "no object", whose probabilities are independent."""
    return _likeliest(logits.sigmoid())


def _likeliest(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    scores, classes = probabilities.max(dim=-1)
    return scores, (classes != probabilities.shape[-1] - 1).long()
