"""Draws where POET looks (Figure 5): the encoder from chosen points, the decoder for each detected person.

Maps are of the last layers, averaged over heads.
"""

from collections.abc import Sequence

import numpy as np
import torch

from poet.poet import POET
from posecore.data.samples import Samples
from posecore.visualization.poses import draw_heat, grid


@torch.no_grad()
def draw_attention(
    model: POET,
    samples: Samples,
    image: np.ndarray,
    points: Sequence[tuple[float, float]] = (),
    *,
    threshold: float = 0.5,
    columns: int = 3,
) -> np.ndarray:
    """Attention maps over the image in a grid: one for each point, then one for each detected person.

    Args:
        model: in evaluation mode.
        samples: what the model sees of an image.
        image: (H, W, 3) uint8 RGB.
        points: (x, y) in pixels that the encoder looks from.
        threshold: least score of a person.
        columns: maps in a row.

    Returns:
        (H', W', 3) uint8 RGB.

    Raises:
        ValueError: a point lies outside the image, the encoder has no maps for points, or there is nothing to
            draw.
    """
    height, width = image.shape[:2]
    if not all(0 <= x < width and 0 <= y < height for x, y in points):
        raise ValueError(f"--cells must lie in the image, which is {width} x {height}")
    images = model.preprocess([samples.sample(image)])
    output = model.find(images, need_weights=True)
    assert output.attention is not None
    map_height, map_width = output.size
    encoder, decoder = output.attention.encoder, output.attention.decoder[0]
    if points and encoder is None:
        raise ValueError("--cells needs an encoder with dense attention (MODEL.POET.ENCODER)")

    drawings, captions = [], []
    for x, y in points:
        cell = int(y * map_height / height) * map_width + int(x * map_width / width)
        assert encoder is not None
        heat = encoder[0, cell].view(map_height, map_width).cpu().numpy()
        drawings.append(draw_heat(image, heat, mark=(x, y)))
        captions.append(f"from ({x:.0f}, {y:.0f})")
    poses = model.decode(output.predictions, images.image_sizes)[0]
    for query in (poses.scores >= threshold).nonzero()[:, 0].tolist():
        drawings.append(draw_heat(image, decoder[query].view(map_height, map_width).cpu().numpy()))
        captions.append(f"query {query}, score {poses.scores[query]:.2f}")
    if not drawings:
        raise ValueError(f"nobody is found with a score of {threshold}, and no --cells are given")
    return grid(drawings, columns, captions)
