"""From a configuration to batches: Detectron2's loaders over our datasets and mapper."""

import itertools
import logging
from collections.abc import Callable, Iterable

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.utils import comm

from posecore.data.datasets import load_dataset, register_definitions
from posecore.data.mapper import PoseMapper
from posecore.data.sampler import ResumableSampler
from posecore.keypoints import load_skeleton

logger = logging.getLogger(__name__)


def train_dataset_dicts(cfg: CfgNode) -> list[dict]:
    """The pictures of all of DATASETS.TRAIN that training uses; their number is an epoch.

    Pictures with fewer than DATASETS.MIN_KEYPOINTS labelled keypoints are left out; with 0, none is.

    Raises:
        FileNotFoundError, ValueError: a dataset cannot be used, or nothing is left to train on.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN names no dataset")
    dicts = list(itertools.chain.from_iterable(load_dataset(name, skeleton) for name in cfg.DATASETS.TRAIN))
    if any("annotations" not in record for record in dicts):
        raise ValueError(f"DATASETS.TRAIN {cfg.DATASETS.TRAIN} holds a dataset without annotations")
    minimum = cfg.DATASETS.MIN_KEYPOINTS
    kept = [record for record in dicts if _labelled(record) >= minimum]
    logger.info("%d of %d training pictures have %d or more keypoints", len(kept), len(dicts), minimum)
    if not kept:
        raise ValueError(
            f"no picture of {cfg.DATASETS.TRAIN} has DATASETS.MIN_KEYPOINTS = {minimum} labelled keypoints"
        )
    return kept


def build_train_loader(
    cfg: CfgNode,
    mapper: Callable[[dict], dict] | None = None,
    dicts: list[dict] | None = None,
    *,
    seed: int | None = None,
    first_batch: int = 0,
) -> Iterable[list[dict]]:
    """Endless batches of SOLVER.IMS_PER_BATCH / processes samples, in an order of its own for each epoch.

    Args:
        cfg: DATASETS, DATALOADER, INPUT, SOLVER.IMS_PER_BATCH.
        mapper: from a dataset dict to a sample; :class:`PoseMapper` if None.
        dicts: what :func:`train_dataset_dicts` returned, where it is at hand already.
        seed: of the order; None draws one that all processes share.
        first_batch: the batch of this order to begin with, where training goes on after a stop.
    """
    dicts = train_dataset_dicts(cfg) if dicts is None else dicts
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN must be 'TrainingSampler', not '{cfg.DATALOADER.SAMPLER_TRAIN}'"
        )
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    sampler = ResumableSampler(
        len(dicts),
        seed=comm.shared_random_seed() if seed is None else seed,
        batch_size=cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
        groups=[int(grouped and record["width"] > record["height"]) for record in dicts],
        first_batch=first_batch,
    )
    return build_detection_train_loader(
        dicts,
        mapper=mapper or PoseMapper(cfg, is_train=True),
        sampler=sampler,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        aspect_ratio_grouping=grouped,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_test_loader(
    cfg: CfgNode, name: str, mapper: Callable[[dict], dict] | None = None
) -> Iterable[list[dict]]:
    """Each picture of a dataset once, in batches of one, shared among the processes.

    Args:
        cfg: DATASETS.DEFINITIONS, DATASETS.SKELETON, DATALOADER.NUM_WORKERS, INPUT.
        name: the dataset.
        mapper: from a dataset dict to a sample; :class:`PoseMapper` if None.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    return build_detection_test_loader(
        load_dataset(name, load_skeleton(cfg.DATASETS.SKELETON)),
        mapper=mapper or PoseMapper(cfg, is_train=False),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def _labelled(record: dict) -> int:
    return sum(person["num_keypoints"] for person in record["annotations"] if not person["iscrowd"])
