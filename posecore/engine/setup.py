"""Prepares a process for training or evaluation: :func:`set_up_process`."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from posecore.config.differences import differences
from posecore.config.yaml_text import load_yaml
from posecore.engine.determinism import set_deterministic


def set_up_process(cfg: CfgNode) -> None:
    """Logs to the screen and OUTPUT_DIR/log.txt, writes OUTPUT_DIR/config.yaml, seeds by SEED and rank.

    Raises:
        UsageError: DETERMINISTIC is True and SEED is not set.
    """
    rank = comm.get_rank()
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    for name in ("fvcore", "detectron2", "posecore"):
        setup_logger(str(output), distributed_rank=rank, name=name)
    logger = logging.getLogger(__name__)
    logger.info("Process %d of %d", rank, comm.get_world_size())
    if comm.is_main_process():
        recorded = output / "config.yaml"
        unfinished = recorded.with_suffix(".yaml.part")
        unfinished.write_text(cfg.dump())
        unfinished.replace(recorded)
        logger.info("Whole configuration: %s", recorded)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    set_deterministic(cfg)


def log_differences(cfg: CfgNode, folder: Path, recorded: Mapping[str, Any]) -> None:
    """Says in the log which keys differ between a configuration and that of the run in a folder.

    The resumed training uses the configuration, not what was recorded, for everything but the order of the
    images and the states of optimizer and random numbers.

    Args:
        cfg: of the training that is resumed.
        folder: its OUTPUT_DIR.
        recorded: the result of :func:`posecore.config.differences.read_recorded`, from before
            :func:`set_up_process` replaced it.
    """
    for key, old, new in differences(recorded, load_yaml(cfg.dump())):
        logging.getLogger(__name__).warning(
            "--resume: %s is %r from here on; the training in %s had %r", key, new, folder, old
        )
