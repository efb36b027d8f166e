"""What analyses of a model share: the model, and a dataset's persons beside what it predicts of them."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import Tensor
from tqdm import tqdm

from poet import POET
from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data import PoseMapper, load_dataset, register_definitions
from posecore.modeling.estimator import PoseEstimator
from posecore.modeling.set_prediction.poses import Poses

Model = TypeVar("Model", bound=PoseEstimator)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """--config-file, --output and KEY VALUE pairs."""
    parser.add_argument("--config-file", required=True, help="the model's configuration")
    parser.add_argument("--output", type=Path, required=True, help="the image to write")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """The same, and how much of the first of DATASETS.TEST is looked at."""
    parser.add_argument("--images", type=int, default=None, help="look at so many only (default: all)")
    add_model_arguments(parser)


def load_poet(options: argparse.Namespace) -> tuple[CfgNode, POET]:
    """:func:`load` for an analysis of POET."""
    return load(options, POET)


def load(options: argparse.Namespace, method: type[Model]) -> tuple[CfgNode, Model]:
    """The configuration and its trained model, in evaluation mode.

    Raises:
        UsageError: it is a model of another method.
    """
    cfg = merge_config(get_cfg(), options.config_file, options.opts)
    model = build_model(cfg)
    if not isinstance(model, method):
        raise UsageError(
            f"{options.config_file}: this analysis is about {method.__name__}, and MODEL.META_ARCHITECTURE "
            f"is {cfg.MODEL.META_ARCHITECTURE!r}"
        )
    PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return cfg, model.eval()


@dataclass(frozen=True)
class Matched:
    """The persons of one image and the predictions that the matcher gives them, M pairs.

    Attributes:
        image: (3, H, W) as the model gets it.
        ground_truth: M ground-truth persons in its pixels.
        scores: (M,) of the predictions.
        poses: M predictions, in widths and heights of the image.
        centers: (M, 2) true centers, likewise.
        posed: (M,) bool, whether any keypoint of the ground truth is visible, so that it has a center.
    """

    image: Tensor
    ground_truth: Instances
    scores: Tensor
    poses: Poses
    centers: Tensor
    posed: Tensor

    @property
    def size(self) -> Tensor:
        """Width and height."""
        return torch.tensor([self.image.shape[2], self.image.shape[1]])


@torch.no_grad()
def matched_persons(cfg: CfgNode, model: POET, num_images: int | None) -> Iterator[Matched]:
    """Goes through the first dataset of DATASETS.TEST, image by image, at evaluation's sizes."""
    register_definitions(cfg.DATASETS.DEFINITIONS)
    mapper = PoseMapper(cfg, is_train=False, labeled=True)
    for record in tqdm(load_dataset(cfg.DATASETS.TEST[0], model.skeleton)[:num_images], unit="image"):
        sample = mapper(record)
        predictions = model.find(model.preprocess([sample])).predictions[-1:]
        ground_truth = sample["instances"].to(model.device)
        persons = model.persons([ground_truth])
        matches = model.matcher(predictions, persons, [len(ground_truth)])
        scores = predictions.logits[matches.index].softmax(dim=-1)[:, -2]
        yield Matched(
            sample["image"],
            ground_truth[matches.persons].to("cpu"),
            scores.cpu(),
            Poses(*(values.cpu() for values in vars(predictions.poses[matches.index]).values())),
            persons.poses.centers[matches.persons].cpu(),
            persons.any_visible[matches.persons].cpu(),
        )
