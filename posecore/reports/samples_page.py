"""The page of training samples as models get them: :func:`write_samples_page` (tools/browse_dataset.py)."""

from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from posecore.reports.page import write_page
from posecore.reports.thumbnails import encode
from posecore.structures.skeleton import load_skeleton
from posecore.visualization.training_samples import TrainingSample, training_samples


def write_samples_page(
    cfg: CfgNode, output: Path, *, count: int = 12, side: int = 480, seed: int = 0
) -> None:
    """Writes the page of the first training samples of a configuration.

    Args:
        cfg: the configuration to train with; not changed.
        output: the HTML file.
        count: number of samples.
        side: the longer side of each image in the page is at most this, pixels.
        seed: of numpy's random numbers, which is set.

    Raises:
        FileNotFoundError, ValueError, OSError: the data cannot be read, or the file cannot be written.
    """
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    samples = [_item(sample, side) for sample in training_samples(cfg, count, seed)]
    write_page(
        output,
        "samples.html",
        {
            "skeleton": {
                "keypoints": skeleton.keypoints,
                "sides": skeleton.sides,
                "limbs": skeleton.limb_indices,
            },
            "samples": samples,
        },
        {"title": f"Samples of {', '.join(cfg.DATASETS.TRAIN)}", "count": len(samples)},
    )


def _item(sample: TrainingSample, side: int) -> dict[str, Any]:
    """What the page's script shows of a sample."""
    height, width = sample.image.shape[:2]
    keypoints = sample.instances.gt_keypoints.tensor.numpy()
    persons = len(keypoints)
    return {
        "image": sample.file.name,
        "source": encode(np.ascontiguousarray(sample.image), side),
        "frame": [0, 0, width, height],
        "marks": np.round(keypoints.astype(float), 2).tolist(),
        "kind": "people" if persons else "nobody",
        "badges": [f"{width} x {height}", "1 person" if persons == 1 else f"{persons} persons"],
        "text": "",
    }
