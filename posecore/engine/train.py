"""A training or an evaluation from a configuration file to its results: what each process of a job does."""

import logging
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation import verify_results
from detectron2.utils import comm

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.engine.results import clear_results, write_results
from posecore.engine.setup import set_up_process
from posecore.engine.trainer import Trainer
from posecore.env import describe
from posecore.modeling.build import build_model


def train_or_evaluate(
    config_file: str, overrides: Sequence[str], *, eval_only: bool = False, resume: bool = False
) -> dict[str, Any]:
    """Trains the model of a configuration, or evaluates it; every process of the job calls this.

    Args:
        config_file: the configuration; "" for the defaults.
        overrides: KEY VALUE pairs, flat.
        eval_only: evaluates MODEL.WEIGHTS on DATASETS.TEST and trains nothing.
        resume: continues from the last checkpoint in OUTPUT_DIR, if there is one; with ``eval_only``,
            evaluates it.

    Returns:
        The metrics in the main process.

    Raises:
        UsageError: the configuration cannot be used.
        CheckpointError: there are no weights to evaluate, or they cannot be read or do not fit.
    """
    cfg = merge_config(get_cfg(), config_file, overrides)
    set_up_process(cfg)
    if comm.is_main_process():
        logging.getLogger("posecore").info("Environment:\n%s", describe())
        clear_results(cfg.OUTPUT_DIR)
    if eval_only:
        model = build_model(cfg)
        checkpointer = PoseCheckpointer(model, cfg.OUTPUT_DIR)
        is_last = resume and checkpointer.has_checkpoint()
        weights = checkpointer.get_checkpoint_file() if is_last else cfg.MODEL.WEIGHTS
        require_weights(weights)
        checkpointer.load(weights)
        results = Trainer.test(cfg, model)
    else:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume)
        results = trainer.train()
    if comm.is_main_process():
        write_results(cfg.OUTPUT_DIR, results)
        verify_results(cfg, results)
    return results
