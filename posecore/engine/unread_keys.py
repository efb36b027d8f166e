"""Finds command-line overrides that have no effect: :func:`unread_overrides`."""

import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points

from detectron2.config import CfgNode
from detectron2.config import get_cfg as get_detectron2_cfg
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm

from posecore.config import METHODS, add_config
from posecore.data.samples import SAMPLES


def log_unread_overrides(cfg: CfgNode, overrides: Sequence[str]) -> None:
    """Warns of :func:`unread_overrides` in the log of the main process."""
    if comm.is_main_process():
        for sentence in unread_overrides(cfg, overrides):
            logging.getLogger(__name__).warning(sentence)


def unread_overrides(cfg: CfgNode, overrides: Sequence[str]) -> list[str]:
    """Says which overrides another method or another kind of samples has, so that they have no effect.

    Keys in files are not examined: a file that several configurations extend sets keys for all of them. Nor
    are models from outside this project, which may read the keys of any method.

    Args:
        cfg: the merged configuration.
        overrides: KEY VALUE pairs, flat.

    Returns:
        One sentence for each of them.
    """
    samples, model = cfg.INPUT.SAMPLES, cfg.MODEL.META_ARCHITECTURE
    reasons = dict.fromkeys(_keys_of_other_samples(cfg), f"INPUT.SAMPLES {samples!r} does not read it")
    for key, method in _keys_of_other_methods(cfg):
        reasons[key] = f"{model} does not read it, it is of {method}"
    return [
        f"{key} on the command line has no effect: {reason}"
        for key in dict.fromkeys(overrides[::2])
        for section, reason in reasons.items()
        if f"{key}.".startswith(f"{section}.")
    ]


def _keys_of_other_samples(cfg: CfgNode) -> Sequence[str]:
    samples = SAMPLES.get(cfg.INPUT.SAMPLES)
    return () if samples is None else samples.unread_keys


def _keys_of_other_methods(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Keys of the methods that neither the model nor the samples belong to, whole sections where possible.

    Yields:
        The key and the name of its method.
    """
    methods = {
        point.module.partition(".")[0]: point
        for point in entry_points(group=METHODS)
        if point.dist is not None and point.dist.name == "posecore"
    }
    model = dict(META_ARCH_REGISTRY).get(cfg.MODEL.META_ARCHITECTURE)
    if model is None or _package(model) not in methods:
        return
    readers = {_package(model), _package(SAMPLES.get(cfg.INPUT.SAMPLES, object))}
    for package, point in methods.items():
        if package not in readers:
            yield from ((key, point.name) for key in _added_keys(point))


def _added_keys(method: EntryPoint) -> Iterator[str]:
    before = get_detectron2_cfg()
    add_config(before)
    after = before.clone()
    method.load()(after)
    return _new_keys(after, before)


def _new_keys(after: CfgNode, before: CfgNode, prefix: str = "") -> Iterator[str]:
    for key, value in after.items():
        if key not in before:
            yield f"{prefix}{key}"
        elif isinstance(value, CfgNode):
            yield from _new_keys(value, before[key], f"{prefix}{key}.")


def _package(of: type) -> str:
    return of.__module__.partition(".")[0]
