"""Which query predicts whom: the assignment of least cost (Equations 1 and 2).

Letters: L decoder layers, N images, Q queries, P persons in all images, M matched pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from poet.codec import Poses
from poet.head import Predictions
from poet.persons import Persons
from poet.terms import Term, visibility_distance


@dataclass(frozen=True)
class Matches:
    """M pairs of a prediction and a person.

    Attributes:
        layers: (M,) int64 decoder layer of the prediction.
        images: (M,) int64 its image.
        queries: (M,) int64 its query.
        persons: (M,) int64 the person, of the P.
    """

    layers: Tensor
    images: Tensor
    queries: Tensor
    persons: Tensor

    @property
    def at(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index of the matched ones into what is (L, N, Q, ...)."""
        return self.layers, self.images, self.queries


class HungarianMatcher:
    """Gives every person a query of its image, no query to two of them, at each decoder layer anew.

    Of more persons than queries, those stay without one who would cost most.

    Args:
        terms: with their weights. A pair costs their sum minus the probability of the person's class.
    """

    def __init__(self, terms: Sequence[tuple[Term, float]]) -> None:
        self.terms = terms

    @torch.no_grad()
    def __call__(self, predictions: Predictions, persons: Persons, counts: Sequence[int]) -> Matches:
        """
        Args:
            predictions: (L, N, Q) of them.
            persons: P of them.
            counts: how many of these each of the N images has.
        """
        costs = self.costs(predictions, persons)
        # One copy to the host for all layers and images. What a network that has diverged predicts is
        # matched somehow; the training step reports its losses.
        table = costs.nan_to_num().cpu().numpy()
        pairs = [
            np.stack(np.broadcast_arrays(layer, image, queries, rows + start))
            for layer, of_layer in enumerate(table)
            for image, (start, end) in enumerate(pairwise(accumulate(counts, initial=0)))
            for rows, queries in [linear_sum_assignment(of_layer[start:end])]
        ]
        return Matches(*torch.from_numpy(np.concatenate(pairs, axis=1)).to(costs.device))

    def costs(self, predictions: Predictions, persons: Persons) -> Tensor:
        """(L, P, Q): what it would cost to give a person each query of its image."""
        probability = predictions.logits.softmax(dim=-1)[:, persons.images]  # (L, P, Q, C)
        labels = persons.labels[:, None, None].expand(*probability.shape[:3], 1)
        return self.pose_costs(predictions.poses, persons) - probability.gather(3, labels)[..., 0]

    def pose_costs(self, poses: Poses, persons: Persons) -> Tensor:
        """(L, N, Q) poses and P persons -> (L, P, Q)."""
        candidates = poses[:, persons.images]
        costs = candidates.visibility.new_zeros(candidates.visibility.shape[:3])
        for term, weight in self.terms:
            costs = costs + weight * term(candidates, persons[:, None])
        return costs


class OfficialMatcher(HungarianMatcher):
    """With the official code's mistake, for comparisons: its indices of persons hit predictions.

    Where the j-th person of the batch has no visible keypoint, the visibilities of the j-th query of the
    batch are taken for 0, whoever is compared with it, and the person still pays for predicted visibilities.
    """

    def pose_costs(self, poses: Poses, persons: Persons) -> Tensor:
        """As the base has it, but for the visibility."""
        mistaken = (~persons.posed).nonzero()[:, 0]
        num_queries = poses.visibility.shape[2]
        visibility = poses.visibility.clone()
        visibility[:, mistaken // num_queries, mistaken % num_queries] = 0
        altered = replace(poses, visibility=visibility)
        everyone = replace(persons, posed=torch.ones_like(persons.posed))
        candidates, ground_truth = poses[:, persons.images], persons[:, None]
        costs = candidates.visibility.new_zeros(candidates.visibility.shape[:3])
        for term, weight in self.terms:
            if term is visibility_distance:
                costs = costs + weight * term(altered[:, persons.images], everyone[:, None])
            else:
                costs = costs + weight * term(candidates, ground_truth)
        return costs
