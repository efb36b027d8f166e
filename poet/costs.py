"""The pose costs that POET's losses and matching are sums of: the shared ones, and one of its own code."""

from collections.abc import Sequence

from torch import Tensor

from posecore.modeling.set_prediction.costs import PoseCost, offset_cost, pose_costs
from posecore.modeling.set_prediction.persons import Persons
from posecore.modeling.set_prediction.poses import Poses


def coded_offset_cost(poses: Poses, persons: Persons) -> Tensor:
    """L1 distance of visible keypoints' offsets as the output vector has them, [-1, 1] coded as [0, 1]."""
    return offset_cost(poses, persons) / 2


def poet_costs(sigmas: Sequence[float]) -> dict[str, PoseCost]:
    """All costs by their names in MODEL.POET.LOSSES and MODEL.POET.COSTS.

    Args:
        sigmas: K constants of the skeleton.
    """
    return {"coded_offset": coded_offset_cost, **pose_costs(sigmas)}
