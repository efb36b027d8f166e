"""Class costs for the matching and class losses: softmax with "no object" as in DETR, and sigmoid focal.

A class cost takes logits and the labels of persons and gives a number for each pair. A class loss takes the
logits of one decoder layer and what each query is to predict (:class:`ClassTargets`), and gives a
:class:`LossTerm`. A method uses a cost and a loss of the same kind.

Letters: N images, Q queries, P persons, C logits of a query: with softmax one for each class and the last one
for "no object", with sigmoid one for each class.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from posecore.modeling.losses import LossTerm

# The target of a query without a person.
NO_OBJECT = -1

# (..., P, Q, C) logits and (P,) labels -> (..., P, Q), what it costs to give a person a query.
ClassCost = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ClassTargets:
    """What the queries of one decoder layer are to predict.

    Attributes:
        classes: (N, Q) int64, a class or :data:`NO_OBJECT`.
        quality: (N, Q) in [0, 1], how good the poses of matched queries are, without a gradient; 0 elsewhere.
        num_persons: number of persons, matched or not, times the number of groups of queries.
    """

    classes: Tensor
    quality: Tensor
    num_persons: float

    def one_hot(self, num_classes: int) -> Tensor:
        """(N, Q, C) int64, 1 at the class of a query; all 0 where there is no object."""
        # NO_OBJECT becomes column 0, which is cut off.
        return F.one_hot(self.classes - NO_OBJECT, num_classes + 1)[..., 1:]


# (N, Q, C) logits and their targets -> the loss of one decoder layer.
ClassLoss = Callable[[Tensor, ClassTargets], LossTerm]


def softmax_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the probability of the person's class (DETR, Section 3.1)."""
    return -_of_labels(logits.softmax(dim=-1), labels)


@dataclass(frozen=True)
class FocalWeights:
    """The weights of the focal loss (RetinaNet, Equation 5).

    Attributes:
        alpha: weight of queries with a person, in [0, 1].
        gamma: exponent that weakens what is predicted well.
    """

    alpha: float = 0.25
    gamma: float = 2.0


class FocalCost(FocalWeights):
    """What the focal loss of a query would change if it predicted the person instead of nobody.

    With the probability p of the person's class, alpha (1 - p)^gamma (-log p) - (1 - alpha) p^gamma
    (-log(1 - p)), as in Deformable DETR.
    """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        logits = _of_labels(logits, labels)
        probability = logits.sigmoid()
        positive = self.alpha * (1 - probability) ** self.gamma * -F.logsigmoid(logits)
        negative = (1 - self.alpha) * probability**self.gamma * -F.logsigmoid(-logits)
        return positive - negative


@dataclass(frozen=True)
class SoftmaxLoss:
    """Cross-entropy of the classes and "no object", a weighted mean over queries (DETR, Section 3.1).

    Attributes:
        no_object_weight: weight of queries without a person.
    """

    no_object_weight: float = 0.1

    def __call__(self, logits: Tensor, targets: ClassTargets) -> LossTerm:
        weights = logits.new_ones(logits.shape[-1])
        weights[-1] = self.no_object_weight
        classes = targets.classes.where(targets.classes != NO_OBJECT, logits.shape[-1] - 1)
        total = F.cross_entropy(logits.flatten(0, -2), classes.flatten(), weights, reduction="sum")
        # The weights of a few queries without persons sum to less than one.
        return LossTerm(total, weights[classes].sum(), min_count=1e-6)


class FocalLoss(FocalWeights):
    """Sigmoid focal loss of all queries, per person (Deformable DETR, RetinaNet Equation 5)."""

    def __call__(self, logits: Tensor, targets: ClassTargets) -> LossTerm:
        one_hot = targets.one_hot(logits.shape[-1]).to(logits.dtype)
        total = sigmoid_focal_loss(logits, one_hot, self.alpha, self.gamma, reduction="sum")
        return LossTerm(total, targets.num_persons)


@dataclass(frozen=True)
class VarifocalLoss:
    """Trains the scores of matched queries to be the quality of their poses (VarifocalNet, Equation 2).

    With a predicted probability p and a quality q the loss is the cross-entropy of p and q, weighted by q
    where q is above 0, and by alpha p^gamma elsewhere.

    Attributes:
        alpha: weight of classes that a query is not to predict.
        gamma: exponent that weakens those that are predicted well.
    """

    alpha: float = 0.75
    gamma: float = 2.0

    def __call__(self, logits: Tensor, targets: ClassTargets) -> LossTerm:
        quality = targets.one_hot(logits.shape[-1]) * targets.quality[..., None]
        weights = quality.where(quality > 0, self.alpha * logits.sigmoid() ** self.gamma)
        entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
        return LossTerm((weights * entropy).sum(), targets.num_persons)


def _of_labels(values: Tensor, labels: Tensor) -> Tensor:
    """(..., P, Q, C) values of all classes and (P,) labels -> (..., P, Q), those of the labels."""
    index = labels[:, None, None].expand(*values.shape[:-1], 1)
    return values.gather(-1, index)[..., 0]
