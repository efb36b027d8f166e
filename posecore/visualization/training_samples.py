"""Draws training samples as models get them (:func:`draw_training_samples`)."""

import itertools
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode

from posecore.data.loader import build_train_loader
from posecore.structures.skeleton import load_skeleton
from posecore.visualization.images import as_rgb
from posecore.visualization.poses import draw_poses, grid


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
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 1, "DATALOADER.NUM_WORKERS", 0])
    np.random.seed(seed)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    images, captions = [], []
    for (sample,) in itertools.islice(build_train_loader(cfg), count):
        image = as_rgb(sample["image"] if "image" in sample else sample["crops"][0], cfg.INPUT.FORMAT)
        images.append(draw_poses(image, sample["instances"], skeleton, scale=width / image.shape[1]))
        captions.append(f"{Path(sample['file_name']).name}  {image.shape[1]} x {image.shape[0]}")
    return grid(images, columns, captions)
