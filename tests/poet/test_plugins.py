"""What the field added to set prediction since, each as a small part in the place of another.

These are examples to start from, not features: docs/poet.md points here.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList, Instances
from helpers.model_contract import steps_are_sound
from helpers.poet_oracle import tiny
from torch import Tensor, nn

from poet import POET
from poet.head import PoseHead
from poet.transformer import Cells
from posecore.layers.deform_attention import MSDeformAttention
from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.modeling.set_prediction.costs import oks_cost
from posecore.modeling.set_prediction.criterion import SetCriterion
from posecore.modeling.set_prediction.matcher import Matches
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions
from posecore.modeling.set_prediction.queries import Queries

WIDTH, HEADS = 32, 4


class DeformableCrossAttention(nn.Module):
    """Queries look at a few points around a place of their own (Deformable DETR)."""

    def __init__(self) -> None:
        super().__init__()
        self.references = nn.Linear(WIDTH, 2)
        self.attention = MSDeformAttention(WIDTH, HEADS, levels=1)

    def forward(
        self, x: Tensor, queries: Queries, memory: Cells, need_weights: bool = False
    ) -> tuple[Tensor, None]:
        places = self.references(queries.positions).sigmoid()[:, :, None]
        values = memory.values.masked_fill(memory.padding[..., None], 0)
        return self.attention(x + queries.positions, places, values, [memory.size]), None


def test_deformable_attention() -> None:
    model = tiny()
    for layer in model.transformer.decoder:
        layer.cross_attention = DeformableCrossAttention()
    steps_are_sound(model)


class DenoisingPOET(POET):
    """More queries in training, made of ground-truth poses with noise, whose person is known (DN-DETR)."""

    noise = 0.1

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        persons, counts = self.persons(targets), [len(target) for target in targets]
        learned = self.queries(len(images))
        num_learned = learned.positions.shape[1]
        queries, known = self.noised(learned, persons, counts)
        found = self.find(images, queries).predictions
        usual, noised = found[:, :, :num_learned], found[:, :, num_learned:]
        terms = self.criterion(usual, persons, self.matcher(usual, persons, counts))
        more = self.criterion(noised, persons, known)
        return reduce_losses(terms | {f"{name}_denoising": term for name, term in more.items()})

    def noised(self, learned: Queries, persons: Persons, counts: list[int]) -> tuple[Queries, Matches]:
        """The learned queries and one for each person, and which of the latter is whose."""
        slots = torch.tensor([slot for count in counts for slot in range(count)], dtype=torch.int64)
        vectors = self.head.codec.join(persons.poses)
        vectors = vectors + self.noise * torch.randn_like(vectors)
        # One slot at least, so that its parameters have a gradient if the images show nobody too.
        table = vectors.new_zeros(len(counts), max(*counts, 1), vectors.shape[1])
        positions = self.embed(table.index_put((persons.images, slots), vectors))
        total = learned.positions.shape[1] + positions.shape[1]
        hidden = torch.zeros(total, total, dtype=torch.bool)
        hidden[: learned.positions.shape[1], learned.positions.shape[1] :] = True
        queries = Queries(
            torch.cat([learned.values, torch.zeros_like(positions)], dim=1),
            torch.cat([learned.positions, positions], dim=1),
            hidden,
        )
        num_layers = len(self.transformer.decoder)
        layers = torch.arange(num_layers).repeat_interleave(len(persons))
        every = (index.repeat(num_layers) for index in (persons.images, slots, torch.arange(len(persons))))
        return queries, Matches(layers, *every)


def test_denoising_queries() -> None:
    model = tiny()
    model.__class__ = DenoisingPOET
    model.embed = nn.Linear(model.head.codec.num_values, WIDTH)
    keys = steps_are_sound(model)
    assert {"loss_offset", "loss_offset_denoising", "loss_offset_0_denoising"} <= keys


@dataclass(frozen=True)
class Rated(Predictions[Poses]):
    """With how good each pose is thought to be: (L, N, Q) logits."""

    quality: Tensor


class RatingHead(nn.Module):
    """Predicts a pose's OKS beside the pose."""

    def __init__(self, head: PoseHead) -> None:
        super().__init__()
        self.head = head
        self.rate = nn.Linear(WIDTH, 1)

    def forward(self, states: Tensor) -> Rated:
        return Rated(**vars(self.head(states)), quality=self.rate(states)[..., 0])


class RatingCriterion(SetCriterion):
    """Trains the rating with the OKS of matched poses, and with 0 elsewhere."""

    sigmas = torch.full((17,), 0.07)

    def __call__(self, predictions: Rated, persons: Persons, matches: Matches) -> dict[str, LossTerm]:
        terms = super().__call__(predictions, persons, matches)
        oks = 1 - oks_cost(predictions.poses[matches.index], persons[matches.persons], self.sigmas)
        targets = torch.zeros_like(predictions.quality).index_put(matches.index, oks.detach())
        total = F.binary_cross_entropy_with_logits(predictions.quality, targets, reduction="sum")
        return terms | {"loss_quality": LossTerm(total, targets.numel())}


def test_a_quality_head() -> None:
    model = tiny()
    model.head = RatingHead(model.head)
    model.criterion = RatingCriterion(model.criterion.class_loss, model.criterion.pose_losses)
    assert "loss_quality" in steps_are_sound(model)
