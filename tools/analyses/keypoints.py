"""Which keypoints look at which in Poseur (supplement, Figure 2): self-attention from a chosen one.

Of the first persons of DATASETS.TEST, cut out as INPUT.CROPS says; weights are those of one layer's
self-attention, averaged over heads.
"""

import argparse
import itertools

import cv2
import torch

from analyses.models import add_model_arguments, load
from posecore.data import build_test_loader
from posecore.visualization.poses import draw_links, grid
from poseur import Poseur
from poseur.attention import keypoint_attention


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keypoint", default="left_shoulder", help="who looks (default left_shoulder)")
    parser.add_argument("--persons", type=int, default=6, help="how many are drawn (default 6)")
    parser.add_argument(
        "--layer", type=int, default=-1, help="which decoder layer, from 0 (default the last)"
    )
    parser.add_argument("--columns", type=int, default=6, help="persons in a row (default 6)")
    add_model_arguments(parser)


@torch.no_grad()
def run(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: there is no such keypoint or layer, or nobody to draw.
    """
    cfg, model = load(options, Poseur)
    names = model.skeleton.keypoints
    if options.keypoint not in names:
        raise ValueError(f"--keypoint must be one of {', '.join(names)}, not {options.keypoint!r}")
    origin = names.index(options.keypoint)
    batches = build_test_loader(cfg, cfg.DATASETS.TEST[0])
    crops = (crop for batch in batches for inputs in batch for crop in inputs["crops"])
    persons = list(itertools.islice(crops, options.persons))
    if not persons:
        raise ValueError(f"{cfg.DATASETS.TEST[0]} has nobody to draw")
    together = torch.stack(persons)
    attention = keypoint_attention(model, together)
    if not -len(attention) <= options.layer < len(attention):
        raise ValueError(f"--layer must be below {len(attention)}, the number of layers, not {options.layer}")
    found = model.predict(model.preprocess([{"crops": together}]))
    images = []
    for crop, pose, weights in zip(together, found, attention[options.layer], strict=True):
        image = crop.permute(1, 2, 0).numpy()
        image = image if cfg.INPUT.FORMAT == "RGB" else image[:, :, ::-1]
        points = pose.pred_keypoints[0, :, :2].cpu().numpy()
        images.append(draw_links(image, points, weights[origin].cpu().numpy(), origin, model.skeleton))
    cv2.imwrite(str(options.output), grid(images, options.columns)[:, :, ::-1])
    print(options.output)
