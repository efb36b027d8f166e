"""Finds command-line overrides that have no effect: :func:`unread_overrides`."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

from posecore.data.samples import build_samples
from posecore.data.training_samples import seeded
from posecore.modeling.build import build_model

# The sections that are read where the samples and the model are built, and what is read elsewhere of them.
_SECTIONS = ("INPUT.", "MODEL.")
_READ_ELSEWHERE = ("MODEL.DEVICE", "MODEL.WEIGHTS")


def log_unread_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    """Warns of :func:`unread_overrides` in the log of the main process; after the model itself was built."""
    if not comm.is_main_process():
        return
    logger = logging.getLogger(__name__)
    try:
        keys = unread_overrides(cfg, overrides)
    except Exception as error:  # a method from elsewhere may need what a copy of a configuration lacks
        logger.warning("the overrides on the command line are not checked: %s", error)
        return
    for key in keys:
        logger.warning(
            "%s on the command line has no effect: nothing reads it with this model and these samples", key
        )


def unread_overrides(cfg: CfgNode, overrides: Sequence[str]) -> list[str]:
    """The keys of INPUT and MODEL among overrides that neither the samples nor the model read.

    They belong to another method, another kind of samples, another backbone, or to an option that is off. The
    samples and the model are built once more to find out, on the CPU. Keys in files are not examined: a file
    that several configurations extend sets keys for all of them.

    Args:
        cfg: the merged configuration, of a model that can be built.
        overrides: KEY VALUE pairs, flat.
    """
    keys = [key for key in dict.fromkeys(overrides[::2]) if key.startswith(_SECTIONS)]
    if keys := [key for key in keys if key not in _READ_ELSEWHERE]:
        read: set[str] = set()
        recording = _RecordingNode(cfg, "", read)
        recording.MODEL.DEVICE = "cpu"
        build_samples(recording)
        with seeded(0):  # the weights of the real model do not depend on this one
            build_model(recording)
        keys = [key for key in keys if key not in read]
    return keys


class _RecordingNode(CfgNode):
    """A copy of a configuration that notes the keys whose values are read, also from copies of itself.

    Args:
        node: that is copied.
        prefix: its name and a dot; "" for the root.
        read: gets the full names of the keys.
    """

    def __init__(self, node: CfgNode, prefix: str, read: set[str]) -> None:
        super().__init__()
        # Not by assignment, which would make a key of it.
        self.__dict__.update(_prefix=prefix, _read=read)
        for key, value in dict.items(node):
            is_section = isinstance(value, CfgNode)
            copied = _RecordingNode(value, f"{prefix}{key}.", read) if is_section else copy.deepcopy(value)
            dict.__setitem__(self, key, copied)

    def __getitem__(self, key: str) -> Any:
        self.__dict__["_read"].add(f"{self.__dict__['_prefix']}{key}")
        return super().__getitem__(key)

    def __deepcopy__(self, memo: dict[int, Any]) -> "_RecordingNode":
        return _RecordingNode(self, self.__dict__["_prefix"], self.__dict__["_read"])
