"""Drawn images of jointed figures with their ground truth, to try a whole training on."""

from posecore.data.synthetic.images import Scene, make_dataset, make_image

__all__ = ["Scene", "make_dataset", "make_image"]
