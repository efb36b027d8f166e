"""Shows training samples as models get them: :func:`training_samples`, :func:`draw_training_samples`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.structures import Instances

from posecore.data.loader import build_train_loader
from posecore.structures.skeleton import load_skeleton
from posecore.visualization.images import as_rgb
from posecore.visualization.poses import draw_poses, grid


@dataclass(frozen=True)
class TrainingSample:
    """A training sample as it is shown.

    Attributes:
        file: path of its image.
        image: (H, W, 3) uint8 RGB, after all augmentations.
        instances: its persons, in pixels of the image.
    """

    file: Path
    image: np.ndarray
    instances: Instances


def training_samples(cfg: CfgNode, count: int, seed: int) -> Iterator[TrainingSample]:
    """The first samples of a training, after crops, flips and all.

    Args:
        cfg: the configuration to train with; not changed.
        count: number of samples.
        seed: of numpy's random numbers, which is set.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 1, "DATALOADER.NUM_WORKERS", 0])
    np.random.seed(seed)
    for (sample,) in itertools.islice(build_train_loader(cfg), count):
        image = as_rgb(sample["image"] if "image" in sample else sample["crops"][0], cfg.INPUT.FORMAT)
        yield TrainingSample(Path(sample["file_name"]), image, sample["instances"])


def draw_training_samples(
    cfg: CfgNode, *, count: int = 12, columns: int = 4, width: int = 480, seed: int = 0
) -> np.ndarray:
    """Training samples after crops, flips and all, with their boxes and keypoints, in a grid.

    Args:
        cfg: the configuration to train with; not changed.
        count: number of samples, at least one.
        columns: samples per row.
        width: width of each sample in pixels.
        seed: of numpy's random numbers, which is set.

    Returns:
        (H, W, 3) uint8 RGB. The captions say the image's file and the sample's size.
    """
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    images, captions = [], []
    for sample in training_samples(cfg, count, seed):
        height, own_width = sample.image.shape[:2]
        images.append(draw_poses(sample.image, sample.instances, skeleton, scale=width / own_width))
        captions.append(f"{sample.file.name}  {own_width} x {height}")
    return grid(images, columns, captions)
