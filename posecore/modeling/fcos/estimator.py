"""The base of the models whose persons are found by FCOS."""

from dataclasses import dataclass

from detectron2.modeling import Backbone
from torch import Tensor, nn

from posecore.layers.precision import full_precision
from posecore.modeling.estimator import PoseEstimator
from posecore.modeling.fcos.head import FCOSOutput
from posecore.modeling.fcos.locations import Locations, make_locations
from posecore.modeling.fcos.settings import Decoding, Training
from posecore.structures.skeleton import Skeleton


@dataclass(frozen=True)
class Dense:
    """What is predicted everywhere.

    Attributes:
        maps: predictor name -> (N, R, C), in full precision.
        towers: tower name -> one (N, C, H_l, W_l) per level.
        locations: the R locations.
    """

    maps: dict[str, Tensor]
    towers: dict[str, list[Tensor]]
    locations: Locations


class FCOSEstimator(PoseEstimator):
    """A :class:`PoseEstimator` with FCOS (arXiv 2006.09214); the method adds the keypoints.

    Args:
        backbone: from images to the named maps of ``in_features``.
        in_features: names of the detector's levels, finest first.
        skeleton: which keypoints a person has.
        head: from the levels to an :class:`FCOSOutput` with the map "cls", (N, R, 1); "centerness" and
            "ltrb" where the method has them.
        training: targets and losses.
        decoding: detections.
        pixel_mean, pixel_std, shift: see :class:`PoseEstimator`.

    Attributes:
        strides: pixels per cell of each level.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        in_features: list[str],
        skeleton: Skeleton,
        head: nn.Module,
        training: Training,
        decoding: Decoding,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        shift: float = 0.0,
    ) -> None:
        super().__init__(
            backbone=backbone, skeleton=skeleton, pixel_mean=pixel_mean, pixel_std=pixel_std, shift=shift
        )
        self.in_features = in_features
        self.strides = [backbone.output_shape()[name].stride for name in in_features]
        self.head = head
        self.how_to_train = training
        self.how_to_decode = decoding

    def dense(self, features: dict[str, Tensor]) -> Dense:
        """The head on the backbone's maps."""
        maps = [features[name] for name in self.in_features]
        sizes = [(level.shape[-2], level.shape[-1]) for level in maps]
        output: FCOSOutput = self.head(maps)
        return Dense(
            {name: full_precision(values) for name, values in output.maps.items()},
            output.towers,
            make_locations(sizes, self.strides, self.device),
        )
