"""The model: a backbone, a transformer, and a set of poses that needs no post-processing.

Letters: N images, H and W the size of the feature map, L decoder layers, Q queries, P persons, K keypoints.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from poet.build import model_parts
from poet.criterion import Criterion
from poet.head import PoseHead, Predictions
from poet.matcher import HungarianMatcher
from poet.persons import Labels, Persons, gather_persons
from poet.transformer import AttentionMaps, Cells, LearnedQueries, Queries, Transformer
from posecore.layers.position import encode_cells
from posecore.modeling.estimator import PoseEstimator
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.skeleton import Skeleton


@dataclass(frozen=True)
class Found:
    """What the network makes of a batch.

    Attributes:
        predictions: (L, N, Q) of them.
        size: (H, W).
        attention: maps of the last layers if they were asked for.
    """

    predictions: Predictions
    size: tuple[int, int]
    attention: AttentionMaps | None


@META_ARCH_REGISTRY.register()
class POET(PoseEstimator):
    """End-to-end trainable multi-instance pose estimation with transformers (arXiv 2103.12115).

    Args:
        backbone: from images to the named map ``in_feature``.
        in_feature: name of the map that the encoder reads.
        skeleton: which keypoints a person has.
        projection: from the map's channels to the transformer's width.
        transformer: from cells and queries to states.
        queries: makes the decoder's queries for so many images.
        head: from states to classes and poses.
        matcher: decides which query is to predict whom.
        criterion: the losses.
        label: the classes of persons.
        least_visibility: COCO's flag from which a keypoint counts as visible.
        auxiliary: whether every decoder layer has losses, or the last alone.
        score_keypoints: whether a keypoint's third value is its visibility, or 1.
        pixel_mean, pixel_std, shift: see :class:`PoseEstimator`.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_feature: str,
        skeleton: Skeleton,
        projection: nn.Module,
        transformer: Transformer,
        queries: LearnedQueries,
        head: PoseHead,
        matcher: HungarianMatcher,
        criterion: Criterion,
        label: Labels,
        least_visibility: int,
        auxiliary: bool,
        score_keypoints: bool,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        shift: float = 0.0,
    ) -> None:
        super().__init__(
            backbone=backbone, skeleton=skeleton, pixel_mean=pixel_mean, pixel_std=pixel_std, shift=shift
        )
        self.in_feature = in_feature
        self.projection = projection
        self.transformer = transformer
        self.queries = queries
        self.head = head
        self.matcher = matcher
        self.criterion = criterion
        self.label = label
        self.least_visibility = least_visibility
        self.auxiliary = auxiliary
        self.score_keypoints = score_keypoints

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return model_parts(cfg)

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_class and one for each term of the poses; with auxiliary losses, of every decoder layer."""
        predictions = self.find(images).predictions
        if not self.auxiliary:
            predictions = predictions[-1:]
        persons = self.persons(targets)
        matches = self.matcher(predictions, persons, [len(target) for target in targets])
        return self.criterion(predictions, persons, matches)

    def predict(self, images: ImageList) -> list[Instances]:
        """What the last decoder layer says: of every image Q poses, in the queries' order.

        The score is the probability of the likeliest class but "no object".
        """
        return self.decode(self.find(images).predictions, images.image_sizes)

    def persons(self, targets: list[Instances]) -> Persons:
        """The persons of images, as what the queries are to predict."""
        return gather_persons(
            targets,
            self.skeleton.num_keypoints,
            least_visibility=self.least_visibility,
            label=self.label,
        )

    def find(self, images: ImageList, queries: Queries | None = None, *, need_weights: bool = False) -> Found:
        """The network alone.

        Args:
            images: normalized and padded.
            queries: for each image; by default those that were learned.
            need_weights: whether attention maps are wanted.
        """
        features = self.projection(self.backbone(images.tensor)[self.in_feature])
        size = features.shape[2], features.shape[3]
        padding = cell_padding(images, size)
        cells = Cells(
            features.flatten(2).transpose(1, 2),
            encode_cells(padding, features.shape[1]).flatten(2).transpose(1, 2),
            padding.flatten(1),
            size,
        )
        decoded = self.transformer(cells, queries or self.queries(len(images)), need_weights)
        return Found(self.head(decoded.states), size, decoded.attention)

    def decode(
        self, predictions: Predictions, sizes: list[tuple[int, int]], layer: int = -1
    ) -> list[Instances]:
        """The poses of one decoder layer in pixels of images of these (height, width).

        With the official classes a person without usable keypoints is of class 1, else of class 0.
        """
        scores, classes = predictions.logits[layer].softmax(dim=-1)[..., :-1].max(dim=-1)
        no_person = (classes != predictions.logits.shape[-1] - 2).long()
        poses = predictions.poses[layer]
        third = poses.visibility if self.score_keypoints else torch.ones_like(poses.visibility)
        results = []
        for image, (height, width) in enumerate(sizes):
            points = poses.keypoints[image] * scores.new_tensor([width, height])
            boxes = Boxes(enclosing_boxes(points))
            boxes.clip((height, width))
            results.append(
                Instances(
                    (height, width),
                    pred_boxes=boxes,
                    scores=scores[image],
                    pred_classes=no_person[image],
                    pred_keypoints=torch.cat([points, third[image][..., None]], dim=-1),
                )
            )
        return results


def cell_padding(images: ImageList, size: tuple[int, int]) -> Tensor:
    """(N, H, W) bool: whether a cell's pixel is padding; that of row i is i * height // H."""
    padding = images.tensor.new_ones(len(images), 1, *images.tensor.shape[2:])
    for mask, (height, width) in zip(padding, images.image_sizes, strict=True):
        mask[:, :height, :width] = 0
    return F.interpolate(padding, size, mode="nearest")[:, 0].bool()
