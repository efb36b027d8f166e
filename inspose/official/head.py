"""The dense head of the official model: :class:`StarHead`.

Keypoints are regressed at every location, and the classifier and the tower of the controller sample features
at these keypoints by deformable convolutions.

Letters: N images, C channels, R locations over all levels, K keypoints.
"""

from torch import Tensor, nn

from inspose.official.star import StarBranch, Steering
from posecore.layers.tower import Tower, init_conv
from posecore.modeling.fcos.head import HeadOutput, classifier_conv, flatten_levels


class StarHead(nn.Module):
    """Predicts "cls" (N, R, 1) and "keypoints" (N, R, 2K), and returns the tower "controller".

    Keypoints are x and y relative to the location, in cells of its level.

    Args:
        in_channels: channels of the pyramid.
        channels: channels of the towers of the classifier and the controller.
        keypoint_channels: channels of the tower of regressed keypoints.
        num_convs: number of convolutions of each tower.
        num_keypoints: K.
        steering: converts regressed keypoints to the offsets of the deformable convolutions.
        norm: norm behind each convolution.
        prior_prob: initial value of the classifier's sigmoid.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        keypoint_channels: int,
        num_convs: int,
        num_keypoints: int,
        steering: Steering,
        norm: str,
        prior_prob: float,
    ) -> None:
        super().__init__()
        self.keypoint_tower = Tower(in_channels, keypoint_channels, num_convs, norm, bias=False)
        self.keypoints = init_conv(nn.Conv2d(keypoint_channels, 2 * num_keypoints, 3, padding=1))
        self.steering = steering
        self.cls = StarBranch(in_channels, channels, num_convs, norm)
        self.classifier = classifier_conv(2 * channels, prior_prob)
        self.controller = StarBranch(in_channels, channels, num_convs, norm)

    def forward(self, features: list[Tensor]) -> HeadOutput:
        """One (N, C, H_l, W_l) map per level, finest first -> predictions and the tower "controller"."""
        keypoints = [self.keypoints(self.keypoint_tower(feature)) for feature in features]
        steering = [self.steering(level) for level in keypoints]
        logits, controller = [], []
        for feature, offsets in zip(features, steering, strict=True):
            logits.append(self.classifier(self.cls(feature, offsets)))
            controller.append(self.controller(feature, offsets))
        maps = {"cls": flatten_levels(logits), "keypoints": flatten_levels(keypoints)}
        return HeadOutput(maps, {"controller": controller})
