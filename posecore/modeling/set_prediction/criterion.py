"""The losses of set prediction once persons and queries are matched: ``SetCriterion``.

Letters: L decoder layers, N images, Q queries, C logits of a query, P persons, M matched pairs.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from posecore.modeling.losses import LossTerm
from posecore.modeling.set_prediction.classification import NO_OBJECT, ClassLoss
from posecore.modeling.set_prediction.costs import WeightedCost
from posecore.modeling.set_prediction.matcher import Matches
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.predictions import Predictions


class SetCriterion:
    """The class loss and the pose losses of every decoder layer.

    Args:
        class_loss: loss of the classes.
        pose_losses: name -> pose cost, which is the loss of a matched pair.
        class_weight: weight of the class loss.
    """

    def __init__(
        self, class_loss: ClassLoss, pose_losses: Mapping[str, WeightedCost], *, class_weight: float = 1.0
    ) -> None:
        self.class_loss = class_loss
        self.pose_losses = pose_losses
        self.class_weight = class_weight

    def __call__(self, predictions: Predictions, persons: Persons, matches: Matches) -> dict[str, LossTerm]:
        """The losses of a batch before they are normalized.

        Pose losses are divided by the number of persons, matched or not, times the number of groups of
        queries; the class loss as ``class_loss`` says.

        Args:
            predictions: (L, N, Q) predictions.
            persons: P persons.
            matches: which query predicts which person.

        Returns:
            ``loss_class`` and ``loss_<name>`` of the last layer, ``loss_class_0``, ``loss_<name>_0`` and so
            on of the earlier ones.
        """
        num_layers = len(predictions.logits)
        targets = class_targets(predictions.logits, persons, matches)
        layers = zip(predictions.logits, targets, strict=True)
        terms = {"class": [replace(self.class_loss(*layer), weight=self.class_weight) for layer in layers]}
        count = float(len(persons) * matches.num_groups)
        for name, loss in self.pose_losses.items():
            errors = loss.cost(predictions.poses[matches.index], persons[matches.persons])
            totals = errors.new_zeros(num_layers).index_add(0, matches.layers, errors)
            terms[name] = [LossTerm(total, count, loss.weight) for total in totals]
        return {
            f"loss_{name}" if layer == num_layers - 1 else f"loss_{name}_{layer}": of_layers[layer]
            for layer in range(num_layers)
            for name, of_layers in terms.items()
        }


def class_targets(logits: Tensor, persons: Persons, matches: Matches) -> Tensor:
    """(L, N, Q) int64: the class of the matched person, :data:`NO_OBJECT` where there is none."""
    targets = torch.full_like(logits[..., 0], NO_OBJECT, dtype=torch.int64)
    targets[matches.index] = persons.labels[matches.persons]
    return targets
