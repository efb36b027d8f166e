"""Compiled operators: this package has their Python functions, ``csrc/`` their kernels for CPU and CUDA.

The device of the tensors alone decides which kernel runs. Letters: N images,
C channels, H x W cells of a map, G groups of keypoints, Q rows of G points each.
"""

try:
    import posecore._C  # noqa: F401  (registers the operators with torch)
except ImportError as error:
    raise ImportError(
        f"posecore's operators are not compiled for this Python and torch ({error}). `make setup` compiles "
        "them; by hand, in the checkout: pip install --no-build-isolation --no-deps -e ."
    ) from error

from posecore.ops.deform_conv import deform_conv2d
from posecore.ops.keypoint_sample import keypoint_sample
from posecore.ops.ms_deform_attn import ms_deform_attn

__all__ = ["deform_conv2d", "keypoint_sample", "ms_deform_attn"]
