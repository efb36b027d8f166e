"""What every stage of the model predicts: where keypoints are, and how sure that is."""

from dataclasses import dataclass

from torch import Tensor


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
