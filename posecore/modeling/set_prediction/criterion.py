"""The losses of set prediction once persons and queries are matched: ``SetCriterion``.

Letters: L decoder layers, N images, Q queries, C logits of a query, P persons, M matched pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from posecore.modeling.losses import LossTerm
from posecore.modeling.set_prediction.classification import NO_OBJECT, ClassLoss, ClassTargets
from posecore.modeling.set_prediction.costs import WeightedCost
from posecore.modeling.set_prediction.matcher import Matches
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.predictions import Predictions

# Poses of the method's type and as many persons -> (M,) in [0, 1], how good each pose is.
Quality = Callable[[Any, Persons], Tensor]


@dataclass(frozen=True)
class SetCriterion:
    """The class loss and the pose losses of every decoder layer.

    Attributes:
        class_loss: loss of the classes.
        pose_losses: name -> pose cost, which is the loss of a matched pair.
        class_weight: weight of the class loss.
        quality: rates matched poses for class losses that train scores by it; None rates them all with 1.
    """

    class_loss: ClassLoss
    pose_losses: Mapping[str, WeightedCost]
    _: KW_ONLY
    class_weight: float = 1.0
    quality: Quality | None = None

    def __call__(
        self,
        predictions: Predictions,
        persons: Persons,
        matches: Matches,
        suffixes: Sequence[str] | None = None,
    ) -> dict[str, LossTerm]:
        """The losses of a batch before they are normalized.

        Pose losses are divided by the number of persons, matched or not, times the number of groups of
        queries; the class loss as ``class_loss`` says.

        Args:
            predictions: (L, N, Q) predictions.
            persons: P persons.
            matches: which query predicts which person.
            suffixes: what is added to the names of the losses of each of the L layers; by default "_0" and so
                on, and nothing for the last layer.

        Returns:
            ``loss_class`` and ``loss_<name>``, each with the suffix of the layer, for every layer.
        """
        if suffixes is None:
            suffixes = [f"_{layer}" for layer in range(len(predictions.logits) - 1)] + [""]
        count = float(len(persons) * matches.num_groups)
        poses, matched = predictions.poses[matches.index], persons[matches.persons]
        targets = self.class_targets(predictions.logits, poses, matched, matches, count)
        terms = {
            "class": [
                replace(self.class_loss(logits, of_layer), weight=self.class_weight)
                for logits, of_layer in zip(predictions.logits, targets, strict=True)
            ]
        }
        for name, loss in self.pose_losses.items():
            errors = loss.cost(poses, matched)
            totals = errors.new_zeros(len(predictions.logits)).index_add(0, matches.layers, errors)
            terms[name] = [LossTerm(total, count, loss.weight) for total in totals]
        return {
            f"loss_{name}{suffix}": of_layers[layer]
            for layer, suffix in enumerate(suffixes)
            for name, of_layers in terms.items()
        }

    def class_targets(
        self, logits: Tensor, poses: Any, matched: Persons, matches: Matches, count: float
    ) -> list[ClassTargets]:
        """The class targets of each of the L layers.

        Args:
            logits: (L, N, Q, C).
            poses: (M,) poses of the matched queries.
            matched: their M persons.
            matches: which they are.
            count: number of persons, times the number of groups.
        """
        classes = torch.full_like(logits[..., 0], NO_OBJECT, dtype=torch.int64)
        classes[matches.index] = matched.labels
        quality = torch.zeros_like(logits[..., 0])
        with torch.no_grad():
            quality[matches.index] = (
                quality.new_ones(()) if self.quality is None else self.quality(poses, matched)
            )
        return [ClassTargets(*of_layer, count) for of_layer in zip(classes, quality, strict=True)]
