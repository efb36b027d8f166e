"""Times training samples beside those of Detectron2's ``DatasetMapper`` (:func:`time_mappers`)."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T

from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.data.augment import CropAroundPerson, CropShare, CropToSize, build_augmentations
from posecore.data.datasets import load_dataset, register_definitions
from posecore.data.mapper import PoseMapper, decode_rgb
from posecore.engine.markdown import markdown_table
from posecore.structures.skeleton import load_skeleton


def time_mappers(configs: Sequence[str], overrides: Sequence[str], *, num_images: int, rounds: int) -> None:
    """Prints a table in Markdown: milliseconds of a training sample on one core, and where ours go.

    Both mappers are given the same records, in turns, and the clock counts the time of the processor, so that
    other load changes little. The parts of ours are
    the decoding of the file, the augmentations of the image with its copy into a tensor, and the labels.

    Args:
        configs: configurations below configs/ whose samples are whole images.
        overrides: KEY VALUE pairs for all of them, flat.
        num_images: the first ones with persons of DATASETS.TRAIN, again from the first where there are fewer.
        rounds: passes over the images.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = []
    for name in configs:
        cfg = merge_config(get_cfg(), CONFIGS / name, [*overrides, "MODEL.DEVICE", "cpu"])
        records = _records(cfg, num_images)
        ours = PoseMapper(cfg, is_train=True)
        candidates = {
            "Detectron2": _for_each(records, detectron2_mapper(cfg)),
            "ours": _for_each(records, ours),
            "without labels": _for_each(records, PoseMapper(cfg, is_train=True, labeled=False)),
            "decoding": _for_each(records, partial(decode_rgb, max_pixels=ours.max_pixels)),
        }
        passes = take_turns(candidates, rounds, "cpu", clock=time.process_time)
        times = {key: milliseconds / len(records) for key, milliseconds in passes.items()}
        parts = (
            times["decoding"],
            times["without labels"] - times["decoding"],
            times["ours"] - times["without labels"],
        )
        rows.append(
            [
                name,
                str(len(records)),
                f"{times['Detectron2']:.1f}",
                f"{times['ours']:.1f}",
                f"{times['ours'] / times['Detectron2']:.2f}",
                f"{1e3 / times['Detectron2']:.0f}",
                f"{1e3 / times['ours']:.0f}",
                *(f"{part:.1f}" for part in parts),
            ]
        )
    print(f"{describe_machine('cpu')}; milliseconds per image on one core, medians of {rounds} rounds\n")
    columns = [
        "configuration",
        "images",
        "Detectron2",
        "ours",
        "ratio",
        "images/s, Detectron2",
        "images/s, ours",
    ]
    print(markdown_table([*columns, "decode", "augment", "label"], rows))


def detectron2_mapper(cfg: CfgNode) -> DatasetMapper:
    """Detectron2's mapper with the augmentations of a configuration; its own crop takes the place of ours.

    Its crop of the same size is at the same place among the augmentations, but anywhere in the image and
    without padding.

    Raises:
        ValueError: INPUT.CROP.TYPE is "person", which Detectron2 does not have.
    """
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    return DatasetMapper(
        is_train=True,
        augmentations=[_detectron2_step(step) for step in build_augmentations(cfg, is_train=True)],
        image_format=cfg.INPUT.FORMAT,
        use_keypoint=True,
        keypoint_hflip_indices=np.array(skeleton.flip_indices),
    )


def _detectron2_step(step: T.Augmentation) -> T.Augmentation:
    if isinstance(step, CropToSize):
        return T.RandomCrop("absolute", step.size)
    if isinstance(step, CropAroundPerson):
        raise ValueError(
            'Detectron2 has no crop that is comparable with INPUT.CROP.TYPE "person"; use another type'
        )
    if isinstance(step, CropShare):
        return T.RandomCrop("relative_range", step.least)
    if isinstance(step, T.RandomApply):
        return T.RandomApply(_detectron2_step(step.aug), step.prob)
    return step


def _records(cfg: CfgNode, num_images: int) -> list[dict]:
    """The first images with persons, repeated up to the number.

    Raises:
        ValueError: DATASETS.TRAIN has none.
    """
    register_definitions(cfg.DATASETS.DEFINITIONS)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    images = [record for name in cfg.DATASETS.TRAIN for record in load_dataset(name, skeleton)]
    records = [record for record in images if record["annotations"]]
    if not records:
        raise ValueError(f"DATASETS.TRAIN {cfg.DATASETS.TRAIN} must have an image with a person")
    return list(islice(cycle(records), num_images))


def _for_each(records: list[dict], run: Callable[[dict], object]) -> Callable[[], None]:
    """One pass over the records, with the same random numbers for the same record."""

    def run_all() -> None:
        for index, record in enumerate(records):
            np.random.seed(index)
            run(record)

    return run_all
