"""Draws training samples as models get them, after crops, flips and all, with their boxes and keypoints.

    python tools/browse_dataset.py --config-file configs/directpose/R_50_25ep.yaml --output samples.png

Look at left (orange) and right (blue): half of the samples are flipped, and still the person's own left
must be orange. Hidden keypoints are rings.
"""

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np

from posecore.config import get_cfg
from posecore.data import build_train_loader
from posecore.structures.skeleton import load_skeleton
from posecore.visualization.poses import draw_poses, grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="the configuration to train with")
    parser.add_argument("--output", default="samples.png", help="the image to write (samples.png)")
    parser.add_argument("--count", type=int, default=12, help="number of samples (12)")
    parser.add_argument("--columns", type=int, default=4, help="samples per row (4)")
    parser.add_argument("--width", type=int, default=480, help="width of each in the image, pixels (480)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other samples (0)")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs that change the configuration"
    )
    options = parser.parse_args()
    cfg = get_cfg()
    cfg.merge_from_file(options.config_file)
    cfg.merge_from_list(options.opts)
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 1, "DATALOADER.NUM_WORKERS", 0])
    np.random.seed(options.seed)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    images, captions = [], []
    for (sample,) in itertools.islice(build_train_loader(cfg), options.count):
        image = sample["image"] if "image" in sample else sample["crops"][0]
        image = image.permute(1, 2, 0).numpy()
        image = image if cfg.INPUT.FORMAT == "RGB" else image[:, :, ::-1]
        scale = options.width / image.shape[1]
        images.append(draw_poses(image, sample["instances"], skeleton, scale=scale))
        captions.append(f"{Path(sample['file_name']).name}  {image.shape[1]} x {image.shape[0]}")
    cv2.imwrite(options.output, grid(images, options.columns, captions)[:, :, ::-1])
    print(f"{len(images)} samples: {options.output}")


if __name__ == "__main__":
    main()
