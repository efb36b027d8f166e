"""Drawn images of jointed figures with ground truth: a small dataset to try a training on."""

from posecore.data.synthetic.images import Scene, make_dataset, make_image

__all__ = ["Scene", "make_dataset", "make_image"]
