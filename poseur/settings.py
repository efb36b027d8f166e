"""Settings of Poseur's training and inference, on crops and on regions of Mask R-CNN."""

from dataclasses import dataclass

from poseur.flip import FlipFusion
from poseur.losses import Normalizer
from poseur.score import Scores


@dataclass(frozen=True)
class TrainingSettings:
    """The settings that turn errors into losses.

    Attributes:
        normalizer: the number that the sum of a stage's errors is divided by.
        decoder_weight: weight of the losses of the decoder's layers, lambda of equation 4.
    """

    normalizer: Normalizer
    decoder_weight: float = 1.0


@dataclass(frozen=True)
class RegionTrainingSettings:
    """The settings of the training on regions of Mask R-CNN.

    Attributes:
        weight: weight of the losses of keypoints.
        max_persons: the most persons of an image whose poses are trained; they are drawn at random.
    """

    weight: float
    max_persons: int


@dataclass(frozen=True)
class InferenceSettings:
    """The settings that turn predictions into poses.

    Attributes:
        scores: the scores of keypoints and persons.
        flip_fusion: fuses the keypoints of a crop with those of the flipped crop; None for no flip test.
        oks_nms_thresh: OKS above which the pose with the lower score is removed; from 1 on none is.
        max_crops_per_pass: the most crops that go through the network together.
    """

    scores: Scores
    flip_fusion: FlipFusion | None
    oks_nms_thresh: float = 0.9
    max_crops_per_pass: int = 128
