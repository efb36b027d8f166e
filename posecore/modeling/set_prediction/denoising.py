"""Denoising: in training, ``Denoiser`` makes further queries of ground-truth poses with noise.

It is known whose pose such a query is to predict, so decoders learn to move keypoints before the matching has
settled. Source: DN-DETR (arXiv 2203.01305), here with keypoints instead of boxes. Letters: N images, Q other
queries, S denoising queries of each image, P persons, M denoising queries that have a person, K keypoints, L
decoder layers, D width of the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posecore.modeling.set_prediction.matcher import Matches
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.predictions import PosesT, Predictions


@dataclass(frozen=True)
class HiddenQueries:
    """Which queries others must not attend to.

    Attributes:
        pairs: (Q, Q) bool, True where a query (the row) must not attend to another one.
        absent: (N, Q) bool, True for queries that fill up an image; nothing attends to them.
    """

    pairs: Tensor
    absent: Tensor


@dataclass(frozen=True)
class NoisedQueries:
    """Denoising queries; images with fewer persons than others are filled up.

    Attributes:
        features: (N, S, D).
        keypoints: (N, S, K, 2), x and y in widths and heights of the image, from 0 to 1.
        absent: (N, S) bool, True for queries without a person.
        groups: (S,) int64; there is one query for each person in each group.
        images: (M,) int64 image of a query with a person.
        slots: (M,) int64 its place among the S.
        persons: (M,) int64 its person, of the P.
    """

    features: Tensor
    keypoints: Tensor
    absent: Tensor
    groups: Tensor
    images: Tensor
    slots: Tensor
    persons: Tensor

    def hidden(self, num_others: int) -> HiddenQueries:
        """What Q other queries, before these ones, and these ones must not attend to.

        The others see no denoising query. A denoising query sees the others and its own group.
        """
        groups = torch.cat([self.groups.new_full((num_others,), -1), self.groups])
        others = self.absent.new_zeros(len(self.absent), num_others)
        return HiddenQueries(
            pairs=(groups >= 0) & (groups != groups[:, None]),
            absent=torch.cat([others, self.absent], dim=1),
        )

    def select(self, predictions: Predictions[PosesT]) -> Predictions[PosesT]:
        """(L, N, S) predictions -> (L, 1, M), those of queries with a person."""
        return predictions[:, self.images[None], self.slots[None]]

    def matches(self, num_layers: int) -> Matches:
        """The known pairs of the (L, 1, M) predictions of :meth:`select` and the persons."""
        queries = torch.arange(len(self.persons), device=self.persons.device).repeat(num_layers)
        layers = torch.arange(num_layers, device=self.persons.device).repeat_interleave(len(self.persons))
        persons = self.persons.repeat(num_layers)
        return Matches(layers, torch.zeros_like(queries), queries, persons, int(self.groups.max()) + 1)


class Denoiser(nn.Module):
    """Makes denoising queries.

    Noise is normal and independent for each coordinate. Keypoints that are not visible start at the center of
    the person.

    Args:
        width: D.
        groups: number of queries for each person.
        noise: standard deviation of the noise, in square roots of the person's area.
    """

    def __init__(self, width: int, groups: int, noise: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1, width)
        self.groups = groups
        self.noise = noise

    def forward(self, persons: Persons, num_images: int) -> NoisedQueries:
        """The queries of N images; an image without persons has at least one query that fills it up."""
        images, device = persons.images, persons.images.device
        counts = images.bincount(minlength=num_images)
        first = counts.cumsum(0) - counts
        size = max(int(counts.max()), 1)
        ranks = torch.arange(len(persons), device=device) - first[images]
        groups = torch.arange(self.groups, device=device)
        slots = (groups[:, None] * size + ranks).flatten()
        images = images.repeat(self.groups)
        noised = self.noised(persons)
        keypoints = noised.new_full((num_images, self.groups * size, *noised.shape[2:]), 0.5)
        absent = torch.ones(keypoints.shape[:2], dtype=torch.bool, device=device)
        return NoisedQueries(
            features=self.embedding.weight.expand(*keypoints.shape[:2], -1),
            keypoints=keypoints.index_put((images, slots), noised.flatten(0, 1)),
            absent=absent.index_put((images, slots), absent.new_zeros(())),
            groups=groups.repeat_interleave(size),
            images=images,
            slots=slots,
            persons=torch.arange(len(persons), device=device).repeat(self.groups),
        )

    def noised(self, persons: Persons) -> Tensor:
        """(groups, P, K, 2) keypoints with noise, from 0 to 1."""
        poses = persons.poses
        visible = poses.visibility[..., None] > 0
        keypoints = poses.keypoints.where(visible, poses.centers[:, None])
        scale = self.noise * persons.areas.sqrt()[:, None] / persons.sizes
        noise = torch.randn(self.groups, *keypoints.shape, device=keypoints.device)
        return (keypoints + noise * scale[:, None]).clamp(0, 1)
