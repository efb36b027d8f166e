"""Draws which keypoints look at which in Poseur's self-attention (supplement, Figure 2)."""

import itertools

import numpy as np
import torch
from detectron2.config import CfgNode

from posecore.data import build_test_loader
from posecore.visualization.images import as_rgb
from posecore.visualization.poses import draw_links, grid
from poseur.attention import keypoint_attention
from poseur.poseur import Poseur


@torch.no_grad()
def draw_keypoint_attention(
    cfg: CfgNode,
    model: Poseur,
    *,
    keypoint: str = "left_shoulder",
    layer: int = -1,
    num_persons: int = 6,
    columns: int = 6,
) -> np.ndarray:
    """The weights of one keypoint's self-attention as lines, on the first persons of DATASETS.TEST.

    Persons are cut out as INPUT.CROPS says; weights are averaged over heads.

    Args:
        cfg, model: see :func:`posecore.inference.load_model.load_model`.
        keypoint: name of the keypoint that looks.
        layer: decoder layer, from 0; -1 for the last.
        num_persons: how many are drawn, where there are as many.
        columns: persons in a row.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: there is no such keypoint or layer, or nobody to draw.
    """
    names = model.skeleton.keypoints
    if keypoint not in names:
        raise ValueError(f"--keypoint must be one of {', '.join(names)}, not {keypoint!r}")
    origin = names.index(keypoint)
    batches = build_test_loader(cfg, cfg.DATASETS.TEST[0])
    crops = (crop for batch in batches for inputs in batch for crop in inputs["crops"])
    persons = list(itertools.islice(crops, num_persons))
    if not persons:
        raise ValueError(f"{cfg.DATASETS.TEST[0]} has nobody to draw")
    together = torch.stack(persons)
    attention = keypoint_attention(model, together)
    if not -len(attention) <= layer < len(attention):
        raise ValueError(f"--layer must be below {len(attention)}, the number of layers, not {layer}")
    poses = model.predict(model.preprocess([{"crops": together}]))
    images = []
    for crop, pose, weights in zip(together, poses, attention[layer], strict=True):
        points = pose.pred_keypoints[0, :, :2].cpu().numpy()
        image = as_rgb(crop, cfg.INPUT.FORMAT)
        images.append(draw_links(image, points, weights[origin].cpu().numpy(), origin, model.skeleton))
    return grid(images, columns)
