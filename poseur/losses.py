"""Losses of Poseur's stages: :class:`StageLosses`, and the normalizers of their sums (equation 4).

Letters: N crops, G groups of K keypoints.
"""

from collections.abc import Callable, Mapping
from functools import partial

from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.options import choice
from poseur.prediction import COARSE, Prediction
from poseur.rle import AbsoluteError, FlowInit, FlowLoss, RealNVP, negative_log_likelihood, official_loss

PoseLoss = FlowLoss | AbsoluteError

# From the errors (N, G, K) of a stage to what their sum is divided by.
Normalizer = Callable[[Tensor], int]


class StageLosses(nn.Module):
    """Computes the loss of each keypoint in each stage, before any sum.

    Args:
        coarse: loss of the proposals; None where there are no proposals.
        decoder: loss of all decoder layers; None where there is no decoder.
    """

    def __init__(self, coarse: PoseLoss | None, decoder: PoseLoss | None) -> None:
        super().__init__()
        self.coarse = coarse
        self.decoder = decoder

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "StageLosses":
        """The losses of MODEL.POSEUR: one flow for the proposals, and one for all decoder layers."""
        node = cfg.MODEL.POSEUR
        inits: dict[str, FlowInit] = {"repaired": "identity", "official": "default"}
        flow = partial(RealNVP, node.PRIOR_MEAN, init=choice(cfg, "MODEL.POSEUR.INIT", inits))
        losses: dict[str, Callable[[], PoseLoss]] = {
            "rle": lambda: FlowLoss(flow(), negative_log_likelihood),
            "rle_official": lambda: FlowLoss(flow(), official_loss),
            "l1": AbsoluteError,
        }
        build_loss = choice(cfg, "MODEL.POSEUR.LOSS", losses)
        has_decoder = node.NUM_LAYERS > 0
        has_proposals = node.START == "proposals" or not has_decoder
        return cls(
            coarse=build_loss() if has_proposals else None,
            decoder=build_loss() if has_decoder else None,
        )

    def forward(self, stages: Mapping[str, Prediction], points: Tensor) -> dict[str, Tensor]:
        """Compares predictions with the ground truth.

        Args:
            stages: name -> prediction (..., K, 2).
            points: ground truth, which broadcasts to (..., K, 2), in the unit of the predictions.

        Returns:
            name -> (..., K).

        Raises:
            ValueError: a stage has no loss.
        """
        return {name: self._loss(name)(prediction, points) for name, prediction in stages.items()}

    def _loss(self, stage: str) -> PoseLoss:
        loss = self.coarse if stage == COARSE else self.decoder
        if loss is None:
            raise ValueError(f"the stage {stage!r} has no loss to train with")
        return loss


def count_predictions(errors: Tensor) -> int:
    """N * G * K, whether the keypoints are labeled or not."""
    return errors.numel()


def count_crops(errors: Tensor) -> int:
    """N."""
    return len(errors)
