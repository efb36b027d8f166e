"""Finds command-line overrides that have no effect: :func:`unread_overrides`.

:func:`unread_sweep_keys` finds those that have none in any run of a sweep.
"""

import copy
import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data.samples import build_samples
from posecore.data.training_samples import seeded
from posecore.modeling.build import build_model

# The sections that are read where the samples and the model are built, and what is read elsewhere of them.
_SECTIONS = ("INPUT.", "MODEL.")
_READ_ELSEWHERE = ("MODEL.DEVICE", "MODEL.WEIGHTS")
# Keys of other sections that Detectron2's own training reads, and this project's never does.
_NEVER_READ = (
    "DATALOADER.REPEAT_THRESHOLD",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN",
    "DATASETS.PROPOSAL_FILES_TEST",
    "DATASETS.PROPOSAL_FILES_TRAIN",
    "GLOBAL.HACK",
    "SOLVER.REFERENCE_WORLD_SIZE",
    "TEST.EXPECTED_RESULTS",
    "TEST.KEYPOINT_OKS_SIGMAS",
    "TEST.PRECISE_BN.ENABLED",
    "TEST.PRECISE_BN.NUM_ITER",
    "VIS_PERIOD",
)


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
    samples and the model are built once more to find out, on the CPU. Keys of other sections that Detectron2
    has and nothing here ever reads are among them too. Keys in files are not examined: a file that several
    configurations extend sets keys for all of them.

    Args:
        cfg: the merged configuration, of a model that can be built.
        overrides: KEY VALUE pairs, flat.
    """
    given = dict.fromkeys(overrides[::2])
    never = [key for key in given if key in _NEVER_READ]
    keys = [key for key in given if key.startswith(_SECTIONS) and key not in _READ_ELSEWHERE]
    if keys:
        read: set[str] = set()
        recording = _RecordingNode(cfg, "", read)
        recording.MODEL.DEVICE = "cpu"
        build_samples(recording)
        with seeded(0):  # the weights of the real model do not depend on this one
            build_model(recording)
        keys = [key for key in keys if key not in read]
    return never + keys


def log_unread_sweep_keys(
    config_file: Path, values: Mapping[str, Sequence[str]], overrides: Sequence[str] = ()
) -> None:
    """Warns of :func:`unread_sweep_keys` in the log, before the runs start."""
    logger = logging.getLogger(__name__)
    try:
        keys = unread_sweep_keys(config_file, values, overrides)
    except UsageError:  # the check of the runs, which follows, names the run too
        return
    except Exception as error:  # as in log_unread_overrides
        logger.warning("the keys of the sweep are not checked: %s", error)
        return
    for key in keys:
        logger.warning("%s has no effect in this sweep: no model and no samples of its runs read it", key)


def unread_sweep_keys(
    config_file: Path, values: Mapping[str, Sequence[str]], overrides: Sequence[str] = ()
) -> list[str]:
    """The keys that no run of a sweep reads: see :func:`unread_overrides`.

    Not all combinations are examined, but that of the first values and those in which one key has another
    value, until one is found for each key that reads it.

    Args:
        config_file: the configuration that is varied.
        values: of the keys that are varied, at least one each.
        overrides: KEY VALUE pairs of all runs, flat.

    Raises:
        UsageError: the configuration does not take a key or a value.
    """
    first = {key: options[0] for key, options in values.items()}
    others = [first | {key: option} for key, options in values.items() for option in options[1:]]
    unread: list[str] | None = None
    for combination in (first, *others):
        pairs = [*overrides, *itertools.chain.from_iterable(combination.items())]
        found = unread_overrides(merge_config(get_cfg(), config_file, pairs), pairs)
        unread = found if unread is None else [key for key in unread if key in found]
        if not unread:
            return []
    return unread or []


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
