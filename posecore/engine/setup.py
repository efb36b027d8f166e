"""Prepares a process for training or evaluation: :func:`set_up_process`."""

import logging
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger


def set_up_process(cfg: CfgNode) -> None:
    """Logs to the screen and OUTPUT_DIR/log.txt, writes OUTPUT_DIR/config.yaml, seeds by SEED and rank."""
    rank = comm.get_rank()
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir(parents=True, exist_ok=True)
    for name in ("fvcore", "detectron2", "posecore"):
        setup_logger(str(output), distributed_rank=rank, name=name)
    logger = logging.getLogger(__name__)
    logger.info("Process %d of %d", rank, comm.get_world_size())
    if comm.is_main_process():
        (output / "config.yaml").write_text(cfg.dump())
        logger.info("Whole configuration: %s", output / "config.yaml")
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
