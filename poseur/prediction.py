"""The predictions of Poseur's stages: :class:`Prediction`, points and scales of keypoints.

The proposals are the stage "coarse", the decoder layers the stages "decoder0", "decoder1", ...
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

COARSE = "coarse"


@dataclass(frozen=True)
class Prediction:
    """A Laplace distribution for each coordinate of each keypoint.

    Attributes:
        points: (..., K, 2), mu of the paper: x and y as shares of the image's or crop's width and height;
            they may lie outside.
        scales: (..., K, 2), b or sigma of the paper, in the same unit, positive.
    """

    points: Tensor
    scales: Tensor

    def __getitem__(self, index: slice | int | tuple) -> "Prediction":
        return Prediction(self.points[index], self.scales[index])


def decoder_stages(layers: Sequence[Prediction]) -> dict[str, Prediction]:
    """The predictions of the decoder's layers by the names of their stages."""
    return {f"decoder{index}": prediction for index, prediction in enumerate(layers)}
