"""Loaders of a configuration: Detectron2's loaders over the samples of INPUT.SAMPLES."""

import itertools
import logging
from collections.abc import Callable, Iterable

import torch
from detectron2.config import CfgNode
from detectron2.data.build import trivial_batch_collator
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm

from posecore.config.options import choice
from posecore.data.bad_images import BadImageLog, bad_image_share
from posecore.data.datasets import load_dataset, register_definitions
from posecore.data.job_signals import JobLoader, outlast_signals
from posecore.data.sampler import TrainingBatches
from posecore.data.samples import build_samples
from posecore.data.training_samples import RecordSamples, TrainingSamples
from posecore.structures.skeleton import load_skeleton

logger = logging.getLogger(__name__)

# The options of DATALOADER.SAMPLER_TRAIN, which Detectron2 has more of.
SAMPLERS = {"TrainingSampler": TrainingBatches}


def samples_per_process(cfg: CfgNode) -> int:
    """Training samples that each process gets of a batch, SOLVER.IMS_PER_BATCH / processes.

    Raises:
        ValueError: that is no whole number, or not above 0, or no multiple of SOLVER.ACCUMULATION_STEPS.
    """
    total, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if total < 1 or total % processes:
        raise ValueError(
            "SOLVER.IMS_PER_BATCH must be at least 1 and a multiple of the number of processes, "
            f"{processes}, not {total}"
        )
    own, parts = total // processes, cfg.SOLVER.ACCUMULATION_STEPS
    if parts < 1 or own % parts:
        raise ValueError(
            f"SOLVER.ACCUMULATION_STEPS must be at least 1 and divide the {own} samples that each of "
            f"{processes} processes gets of SOLVER.IMS_PER_BATCH {total}, not {parts}"
        )
    return own


def _num_workers(cfg: CfgNode) -> int:
    number = cfg.DATALOADER.NUM_WORKERS
    if number < 0:
        raise ValueError(f"DATALOADER.NUM_WORKERS must be 0 or more, not {number}")
    return number


def train_dataset_dicts(cfg: CfgNode) -> list[dict]:
    """The records of all datasets of DATASETS.TRAIN; their number is the length of an epoch.

    Depending on INPUT.SAMPLES a record is an image or a person. Records with fewer than
    DATASETS.MIN_KEYPOINTS labeled keypoints are left out.

    Raises:
        FileNotFoundError, ValueError: a dataset cannot be used, or no record is left.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty: it must name a dataset")
    dicts = list(itertools.chain.from_iterable(load_dataset(name, skeleton) for name in cfg.DATASETS.TRAIN))
    if any("annotations" not in record for record in dicts):
        raise ValueError(f"DATASETS.TRAIN {cfg.DATASETS.TRAIN} names a dataset without annotations")
    minimum = cfg.DATASETS.MIN_KEYPOINTS
    records = build_samples(cfg).train_records(dicts)
    logger.info(
        "%d training samples with %d or more keypoints from %d images", len(records), minimum, len(dicts)
    )
    if not records:
        raise ValueError(
            f"no sample of {cfg.DATASETS.TRAIN} has DATASETS.MIN_KEYPOINTS = {minimum} labeled keypoints "
            "and a box that lies in its image; the log names annotations that were left out"
        )
    return records


def build_train_loader(
    cfg: CfgNode,
    mapper: Callable[[dict], dict] | None = None,
    dicts: list[dict] | None = None,
    *,
    seed: int | None = None,
    first_batch: int = 0,
) -> Iterable[list[dict]]:
    """Endless batches of SOLVER.IMS_PER_BATCH / processes samples, shuffled anew in each epoch.

    The samples depend on the seed alone, whatever the number of workers and processes.

    Args:
        cfg: DATASETS, DATALOADER, INPUT, SOLVER.IMS_PER_BATCH; OUTPUT_DIR for bad_images.txt.
        mapper: from a record to a sample; None for that of INPUT.SAMPLES.
        dicts: the result of :func:`train_dataset_dicts`; None to read the datasets.
        seed: of the order and of the augmentations; None draws one that all processes share.
        first_batch: number of the batch of this order to begin with, for a resumed training.

    Raises:
        FileNotFoundError, ValueError: a dataset or a key of the configuration cannot be used.
    """
    dicts = train_dataset_dicts(cfg) if dicts is None else dicts
    samples = build_samples(cfg)
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING and not samples.same_shape
    groups = [int(grouped and record["width"] > record["height"]) for record in dicts]
    seed = comm.shared_random_seed() if seed is None else seed
    share = bad_image_share(cfg)
    batches = choice(cfg, "DATALOADER.SAMPLER_TRAIN", SAMPLERS)(
        groups,
        seed=seed,
        batch_size=samples_per_process(cfg) * comm.get_world_size(),
        rank=comm.get_rank(),
        num_processes=comm.get_world_size(),
        first_batch=first_batch,
    )
    loader = JobLoader(
        TrainingSamples(
            dicts,
            mapper or samples.train_sample,
            groups=groups,
            seed=seed,
            replaces=share > 0,
            mosaic=samples.mosaic,
        ),
        batch_sampler=batches,
        num_workers=_num_workers(cfg),
        collate_fn=trivial_batch_collator,
        worker_init_fn=outlast_signals,
        # Of its own, so that the loader draws nothing from torch's global one.
        generator=torch.Generator(),
    )
    bad_images = BadImageLog(share=share, num_images=len(dicts), output_dir=cfg.OUTPUT_DIR)
    return map(bad_images.samples, loader)


def labeled_records(cfg: CfgNode, name: str) -> list[dict]:
    """The records of a dataset of DATASETS.TEST, chosen as if a model were trained with it.

    Raises:
        FileNotFoundError, ValueError: the dataset cannot be used, or it has fewer records than there are
            processes.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    images = load_dataset(name, load_skeleton(cfg.DATASETS.SKELETON))
    labeled = [image for image in images if "annotations" in image]
    records = build_samples(cfg).train_records(labeled)
    processes = comm.get_world_size()
    if len(records) < processes:
        raise ValueError(
            f"TEST.LOSSES needs a sample of each dataset of DATASETS.TEST in every process: {name} has "
            f"{len(records)} samples with DATASETS.MIN_KEYPOINTS = {cfg.DATASETS.MIN_KEYPOINTS} labeled "
            f"keypoints, and there are {processes} processes"
        )
    return records


def build_labeled_loader(cfg: CfgNode, name: str) -> Iterable[list[dict]]:
    """The samples of :func:`labeled_records` once, not augmented, in batches of the size of training.

    With SOLVER.ACCUMULATION_STEPS that is the size of its parts.

    Every process has the same number of batches of the same sizes. The last samples, fewer than there are
    processes, may be left out for that.
    """
    records = labeled_records(cfg, name)
    processes = comm.get_world_size()
    share = records[comm.get_rank() : len(records) - len(records) % processes : processes]
    return JobLoader(
        RecordSamples(share, build_samples(cfg).labeled_sample),
        batch_size=max(1, cfg.SOLVER.IMS_PER_BATCH // processes // cfg.SOLVER.ACCUMULATION_STEPS),
        num_workers=_num_workers(cfg),
        collate_fn=trivial_batch_collator,
        worker_init_fn=outlast_signals,
    )


def build_test_loader(
    cfg: CfgNode, name: str, mapper: Callable[[dict], dict] | None = None
) -> Iterable[list[dict]]:
    """Each image of a dataset once, in batches of one, shared among the processes.

    Args:
        cfg: DATASETS.DEFINITIONS, DATASETS.SKELETON, DATALOADER.NUM_WORKERS, INPUT.
        name: the dataset.
        mapper: from a dataset dict to a sample; None for that of INPUT.SAMPLES.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    samples = build_samples(cfg)
    records = samples.test_records(name, load_dataset(name, load_skeleton(cfg.DATASETS.SKELETON)))
    return JobLoader(
        RecordSamples(records, mapper or samples.test_sample),
        sampler=InferenceSampler(len(records)),
        num_workers=_num_workers(cfg),
        collate_fn=trivial_batch_collator,
        worker_init_fn=outlast_signals,
    )
