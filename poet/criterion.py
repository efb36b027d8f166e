"""The losses of a set of predictions, once it is known which of them predicts whom (Equation 4).

Letters: L decoder layers, N images, Q queries, C classes, P persons, M matched pairs.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from poet.head import Predictions
from poet.matcher import Matches
from poet.persons import Persons
from poet.terms import Term
from posecore.modeling.losses import mean_over_processes

# Images without persons have no pose losses to divide: any floor above zero does. It lies below what a
# single query without an object adds to the classification's normalizer.
FLOOR = 1e-6


class Criterion:
    """Cross-entropy of the classes and the terms of the poses, at every decoder layer.

    Args:
        terms: name -> (term, weight).
        no_object_weight: weight of queries without a person in the cross-entropy (0.1 in the paper).
    """

    def __init__(self, terms: Mapping[str, tuple[Term, float]], no_object_weight: float) -> None:
        self.terms = terms
        self.no_object_weight = no_object_weight

    def __call__(self, predictions: Predictions, persons: Persons, matches: Matches) -> dict[str, Tensor]:
        """loss_class and a loss for each term; those of earlier layers have names with _0, _1, ... behind.

        The cross-entropy is a weighted mean over queries, the others are divided by the number of persons,
        both over all processes.
        """
        num_layers = len(predictions.logits)
        classes = target_classes(predictions.logits, persons, matches)
        weights = class_weights(predictions.logits, self.no_object_weight)
        normalizers = mean_over_processes(
            # Every layer has the same number of matched queries, so the first one's weights stand for all.
            {"class": weights[classes[0]].sum(), "pose": float(len(persons))},
            floor=FLOOR,
            device=classes.device,
        )
        sums = {"class": class_loss(predictions.logits, classes, weights) / normalizers["class"]}
        for name, (term, weight) in self.terms.items():
            errors = term(predictions.poses[matches.at], persons[matches.persons])
            sums[name] = weight * layer_sums(errors, matches.layers, num_layers) / normalizers["pose"]
        return {
            f"loss_{name}" if layer == num_layers - 1 else f"loss_{name}_{layer}": values[layer]
            for layer in range(num_layers)
            for name, values in sums.items()
        }


def target_classes(logits: Tensor, persons: Persons, matches: Matches) -> Tensor:
    """(L, N, Q) int64: the matched person's class, or "no object", the last one."""
    classes = torch.full_like(logits[..., 0], logits.shape[-1] - 1, dtype=torch.int64)
    classes[matches.at] = persons.labels[matches.persons]
    return classes


def class_weights(logits: Tensor, no_object_weight: float) -> Tensor:
    """(C + 1,): 1, and for "no object" less."""
    weights = logits.new_ones(logits.shape[-1])
    weights[-1] = no_object_weight
    return weights


def class_loss(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """(L,) weighted sums over images and queries of the cross-entropy of (L, N, Q, C + 1) logits."""
    losses = F.cross_entropy(logits.flatten(0, 2), classes.flatten(), weights, reduction="none")
    return losses.view(len(logits), -1).sum(dim=1)


def layer_sums(errors: Tensor, layers: Tensor, num_layers: int) -> Tensor:
    """(M,) numbers and the layer of each -> (L,) sums."""
    return errors.new_zeros(num_layers).index_add(0, layers, errors)
