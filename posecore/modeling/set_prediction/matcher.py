"""Which query predicts which person: ``HungarianMatcher``, the assignment of least cost (DETR, Section 3.1).

Letters: L decoder layers, N images, Q queries, C logits of a query, P persons in all images, M matched pairs.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import accumulate, pairwise

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from posecore.modeling.set_prediction.classification import ClassCost
from posecore.modeling.set_prediction.costs import WeightedCost
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.poses import PredictedPoses
from posecore.modeling.set_prediction.predictions import Predictions


@dataclass(frozen=True)
class Matches:
    """M pairs of a prediction and a person.

    Attributes:
        layers: (M,) int64 decoder layer of the prediction.
        images: (M,) int64 its image.
        queries: (M,) int64 its query.
        persons: (M,) int64 the person, of the P.
        num_groups: how many queries of a layer a person is matched with if there are enough.
    """

    layers: Tensor
    images: Tensor
    queries: Tensor
    persons: Tensor
    num_groups: int = 1

    @property
    def index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index of the matched predictions in what has (L, N, Q) as its first dimensions."""
        return self.layers, self.images, self.queries


@dataclass(frozen=True)
class HungarianMatcher:
    """Gives every person a query of its image, and no query two persons, separately in each decoder layer.

    Where an image has more persons than queries, those persons stay unmatched that would cost most.

    Attributes:
        class_cost: cost of the classes.
        pose_costs: costs of the poses. A pair costs their sum and the class cost.
        class_weight: weight of the class cost.
        num_groups: number of equal groups that the Q queries are divided into, one behind the other; the
            persons are matched with the queries of each group alone (Group DETR).
    """

    class_cost: ClassCost
    pose_costs: Sequence[WeightedCost]
    _: KW_ONLY
    class_weight: float = 1.0
    num_groups: int = 1

    @torch.no_grad()
    def __call__(self, predictions: Predictions, persons: Persons, counts: Sequence[int]) -> Matches:
        """Matches the persons of a batch.

        Args:
            predictions: (L, N, Q) predictions.
            persons: P persons.
            counts: number of persons of each of the N images.

        Returns:
            The pairs by layer, image, group and person.

        Raises:
            ValueError: the queries do not divide into the groups.
        """
        num_queries = predictions.logits.shape[2]
        if num_queries % self.num_groups:
            raise ValueError(f"{num_queries} queries do not divide into {self.num_groups} equal groups")
        costs = self.total_costs(predictions, persons)
        # One copy to the host for all layers and images. Where a network has diverged, NaN becomes a number,
        # so that the matching goes through; the training step reports the losses.
        groups = np.split(costs.nan_to_num().cpu().numpy(), self.num_groups, axis=2)
        size = num_queries // self.num_groups
        pairs = [
            np.stack(np.broadcast_arrays(layer, image, columns + group * size, rows + start))
            for layer in range(len(costs))
            for image, (start, end) in enumerate(pairwise(accumulate(counts, initial=0)))
            for group, table in enumerate(groups)
            for rows, columns in [linear_sum_assignment(table[layer, start:end])]
        ]
        layers, images, queries, matched = torch.from_numpy(np.concatenate(pairs, axis=1)).to(costs.device)
        return Matches(layers, images, queries, matched, self.num_groups)

    def total_costs(self, predictions: Predictions, persons: Persons) -> Tensor:
        """(L, P, Q): what it costs to give each person each query of its image."""
        class_costs = self.class_cost(predictions.logits[:, persons.images], persons.labels)
        return self.total_pose_costs(predictions.poses, persons) + self.class_weight * class_costs

    def total_pose_costs(self, poses: PredictedPoses, persons: Persons) -> Tensor:
        """(L, N, Q) poses and P persons -> (L, P, Q), the weighted sum of the pose costs."""
        keypoints = poses.keypoints
        total = keypoints.new_zeros(keypoints.shape[0], len(persons), keypoints.shape[2])
        candidates = poses[:, persons.images]
        for cost in self.pose_costs:
            total = total + cost(candidates, persons[:, None])
        return total
