"""Pairs a dataset's persons with the predictions that POET's matcher gives them (:class:`MatchedPersons`)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import Tensor
from tqdm import tqdm

from poet.poet import POET
from posecore.data import PoseMapper, load_dataset, register_definitions
from posecore.modeling.set_prediction.poses import Poses


@dataclass(frozen=True)
class MatchedPersons:
    """The persons of one image and the predictions that the matcher gives them, M pairs.

    Attributes:
        image: (3, H, W) as the model gets it.
        ground_truth: M ground-truth persons in its pixels.
        scores: (M,) of the predictions.
        poses: M predictions, in widths and heights of the image.
        centers: (M, 2) ground-truth centers, likewise.
        any_visible: (M,) bool, whether any keypoint of the ground truth is visible, so that it has a center.
    """

    image: Tensor
    ground_truth: Instances
    scores: Tensor
    poses: Poses
    centers: Tensor
    any_visible: Tensor

    @property
    def size(self) -> Tensor:
        """Width and height of the image, (2,)."""
        return torch.tensor([self.image.shape[2], self.image.shape[1]])


@torch.no_grad()
def matched_persons(cfg: CfgNode, model: POET, num_images: int | None = None) -> Iterator[MatchedPersons]:
    """The matched persons of the first of DATASETS.TEST, image by image, at the sizes of evaluation.

    Args:
        cfg, model: see :func:`posecore.inference.load_model.load_model`.
        num_images: number of images to go through; None for all.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    mapper = PoseMapper(cfg, is_train=False, labeled=True)
    for record in tqdm(load_dataset(cfg.DATASETS.TEST[0], model.skeleton)[:num_images], unit="image"):
        sample = mapper(record)
        predictions = model.find(model.preprocess([sample])).predictions[-1:]
        ground_truth = sample["instances"].to(model.device)
        persons = model.persons([ground_truth])
        matches = model.matcher(predictions, persons, [len(ground_truth)])
        scores = predictions.logits[matches.index].softmax(dim=-1)[:, -2]
        yield MatchedPersons(
            image=sample["image"],
            ground_truth=ground_truth[matches.persons].to("cpu"),
            scores=scores.cpu(),
            poses=Poses(*(values.cpu() for values in vars(predictions.poses[matches.index]).values())),
            centers=persons.poses.centers[matches.persons].cpu(),
            any_visible=persons.any_visible[matches.persons].cpu(),
        )
