"""A training or an evaluation from a configuration file to its results: what each process of a job does."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from posecore.checkpoint.checkpointer import TAG, PoseCheckpointer, weight_choice
from posecore.checkpoint.files import PART
from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.differences import read_recorded
from posecore.config.errors import UsageError
from posecore.config.merge import merge_config
from posecore.engine.results import FILE, clear_results, write_results
from posecore.engine.setup import log_differences, set_up_process
from posecore.engine.signals import StopSignals
from posecore.engine.trainer import Trainer
from posecore.engine.unread_keys import log_unread_overrides
from posecore.env import describe
from posecore.modeling.build import build_inference_model

# Sections and keys that every configuration has which a run has written as a whole.
_RECORDED = {"DATASETS", "MODEL", "OUTPUT_DIR", "SOLVER", "TEST"}


def train_or_evaluate(
    config_file: str,
    overrides: Sequence[str],
    *,
    eval_only: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Trains the model of a configuration, or evaluates it; every process of the job calls this.

    Args:
        config_file: the configuration; "" for the defaults.
        overrides: KEY VALUE pairs, flat.
        eval_only: evaluates MODEL.WEIGHTS on DATASETS.TEST and trains nothing.
        resume: continues from the last checkpoint in OUTPUT_DIR, if there is one; with ``eval_only``,
            evaluates it.
        overwrite: removes the checkpoints of an earlier training in OUTPUT_DIR first.

    Returns:
        The metrics in the main process.

    Raises:
        UsageError: the configuration cannot be used.
        CheckpointError: there are no weights to evaluate, or they cannot be read or do not fit.
        Stopped: a process got SIGTERM or SIGINT.
    """
    with StopSignals() as signals, signals.at_once("outside the training loop: nothing more is saved"):
        return _train_or_evaluate(config_file, overrides, eval_only, resume, overwrite)


def check_folder(
    cfg: CfgNode, *, eval_only: bool = False, resume: bool = False, overwrite: bool = False
) -> None:
    """Checks that a run would not write over another one, or a file of the user; before any process writes.

    Raises:
        UsageError: OUTPUT_DIR holds a training, and none of the options says what becomes of it; or it has a
            config.yaml that no run has written.
    """
    recorded: dict[str, Any] = {}
    with suppress(ValueError):  # a damaged one may be a run's
        recorded = read_recorded(Path(cfg.OUTPUT_DIR) / "config.yaml")
    if recorded and not recorded.keys() >= _RECORDED:
        raise UsageError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR} has a config.yaml that no run has written, and that the record of "
            "this one would replace: name another OUTPUT_DIR"
        )
    if eval_only or resume or overwrite:
        return
    for name in (FILE, "model_final.pth", TAG):
        if (Path(cfg.OUTPUT_DIR) / name).exists():
            raise UsageError(
                f"OUTPUT_DIR {cfg.OUTPUT_DIR} holds a training already ({name}): add --resume to go on with "
                "it, --overwrite to replace it, or name another OUTPUT_DIR"
            )


def _remove_training(folder: Path) -> None:
    """Removes what a later --resume would take for the new training."""
    for file in [*folder.glob("model_*.pth"), *folder.glob(f"*{PART}"), folder / TAG]:
        file.unlink(missing_ok=True)


def _train_or_evaluate(
    config_file: str, overrides: Sequence[str], eval_only: bool, resume: bool, overwrite: bool
) -> dict[str, Any]:
    cfg = merge_config(get_cfg(), config_file, overrides)
    folder = Path(cfg.OUTPUT_DIR)
    recorded = _read_recorded(folder) if comm.is_main_process() else {}
    set_up_process(cfg)
    if comm.is_main_process():
        if resume and not eval_only:
            log_differences(cfg, folder, recorded)
        if overwrite and not (resume or eval_only):
            _remove_training(folder)
        logging.getLogger("posecore").info("Environment:\n%s", describe())
        clear_results(cfg.OUTPUT_DIR)
    if eval_only:
        model = build_inference_model(cfg)
        log_unread_overrides(cfg, overrides)
        checkpointer = PoseCheckpointer(model, cfg.OUTPUT_DIR)
        is_last = resume and checkpointer.has_checkpoint()
        weights = checkpointer.get_checkpoint_file() if is_last else cfg.MODEL.WEIGHTS
        require_weights(weights)
        checkpointer.load(weights, weights=weight_choice(cfg))
        results = Trainer.test(cfg, model)
    else:
        trainer = Trainer(cfg)
        log_unread_overrides(cfg, overrides)
        trainer.resume_or_load(resume)
        results = trainer.train()
    if comm.is_main_process():
        write_results(cfg.OUTPUT_DIR, results)
        verify_results(cfg, results)
    return results


def _read_recorded(folder: Path) -> dict[str, Any]:
    try:
        return read_recorded(folder / "config.yaml")
    except ValueError as error:
        logging.getLogger("posecore").warning("%s; it is not compared with the configuration", error)
        return {}
