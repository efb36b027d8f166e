"""Configurations and models of the files under configs/, for tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_model

from posecore.config import get_cfg
from posecore.config.repository import CONFIGS

SMALL_RESNET = {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64}
SMALL_FCOS = {
    **SMALL_RESNET,
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.FCOS.CHANNELS": 32,
    "MODEL.FCOS.NUM_CONVS": 1,
}


def small_transformer(key: str) -> dict[str, int]:
    """The overrides that make the encoder, the decoder and the queries of a set-prediction method small."""
    return {
        f"{key}.WIDTH": 32,
        f"{key}.HEADS": 4,
        f"{key}.FEED_FORWARD": 64,
        f"{key}.ENCODER_LAYERS": 1,
        f"{key}.DECODER_LAYERS": 2,
        f"{key}.NUM_QUERIES": 6,
    }


def override_list(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """{key: value} -> (key, value, key, value, ...), as ``merge_from_list`` takes them."""
    return tuple(part for pair in values.items() for part in pair)


def load_cfg(config: str, *overrides: Any) -> CfgNode:
    """A configuration under configs/, for the CPU and without weights."""
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / config))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *overrides])
    return cfg


def build(config: str, *overrides: Any) -> Any:
    """The model of a configuration under configs/."""
    return build_model(load_cfg(config, *overrides))


@dataclass(frozen=True)
class MethodModels:
    """Makes the models of a method.

    Attributes:
        method: the folder of its configurations under configs/.
        config: the configuration of its small models, in that folder.
        small: the overrides that make a model small enough for fast training steps.
    """

    method: str
    config: str
    small: Mapping[str, Any]

    def build(self, config: str, *overrides: Any) -> Any:
        """The model of a configuration of the method, without weights."""
        return build(f"{self.method}/{config}", *overrides)

    def tiny(self, *overrides: Any, config: str | None = None) -> Any:
        """A model that is small enough for fast training steps."""
        return self.build(config or self.config, *override_list(self.small), *overrides)
