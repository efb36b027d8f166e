"""How Poseur trains and scores: numbers and functions, without the networks."""

from dataclasses import dataclass

from poseur.flip import Fusion
from poseur.score import InstanceScore, KeypointScore


@dataclass(frozen=True)
class Training:
    """How errors become losses.

    Attributes:
        per_crop: whether the sum over a crop's predicted keypoints is left as it is, or divided by their
            number; the mean over crops is taken in either case.
        decoder_weight: of the losses of the decoder's layers, lambda of equation 4.
    """

    per_crop: bool = False
    decoder_weight: float = 1.0


@dataclass(frozen=True)
class Scoring:
    """How predictions become poses.

    Attributes:
        keypoints: their scores, of their scales.
        persons: their scores, of their boxes' and keypoints'.
        fusion: of a crop's result with that of its flipped image; None for no flip test.
        oks_nms_thresh: OKS above which the lesser of two poses goes; from 1 on none does.
        crops_at_once: the most that go through the network together.
    """

    keypoints: KeypointScore
    persons: InstanceScore
    fusion: Fusion | None
    oks_nms_thresh: float = 0.9
    crops_at_once: int = 128
