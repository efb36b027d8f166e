"""The parts that both models of InsPose have: :class:`InstanceAwareEstimator`.

The models are that of the paper (:mod:`inspose.inspose`) and that of the official code
(:mod:`inspose.official.model`).
"""

from torch import nn

from inspose.keypoint_features import KeypointFeatures
from posecore.modeling.estimator import CommonParts, PoseEstimator
from posecore.modeling.fcos.detector import FCOSDetector
from posecore.modeling.keypoint_network import KeypointNetworks


class InstanceAwareEstimator(PoseEstimator):
    """A detector, and a keypoint network for each person that it finds (InsPose, section 3.1).

    Args:
        detector: finds persons; its towers generate the networks.
        keypoint_features: computes the map that the networks read.
        keypoint_networks: generates networks at locations and applies them to that map.
        common: the parts of every model; the backbone computes the levels of a pyramid.
    """

    def __init__(
        self,
        detector: FCOSDetector,
        keypoint_features: KeypointFeatures,
        keypoint_networks: KeypointNetworks,
        common: CommonParts,
    ) -> None:
        super().__init__(common)
        self.detector = detector
        self.keypoint_features = keypoint_features
        self.keypoint_networks = keypoint_networks

    def dense_modules(self) -> list[nn.Module]:
        """The backbone, the head of the detector and the shared keypoint features."""
        return [*super().dense_modules(), self.detector.head, self.keypoint_features]
