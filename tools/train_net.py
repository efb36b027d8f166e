"""Trains a model by a configuration, or with --eval-only evaluates it; docs/training.md says how."""

import logging
import sys
from argparse import Namespace

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from detectron2.engine import default_argument_parser
from detectron2.evaluation import verify_results
from detectron2.modeling import build_model
from detectron2.utils import comm

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.engine.launch import launch
from posecore.engine.results import clear_results, write_results
from posecore.engine.setup import set_up_process
from posecore.engine.trainer import Trainer
from posecore.env import describe


def main(args: Namespace) -> dict:
    """What each process does; returns the metrics in the main one."""
    cfg = merge_config(get_cfg(), args.config_file, args.opts)
    set_up_process(cfg)
    if comm.is_main_process():
        logging.getLogger("posecore").info("Environment:\n%s", describe())
        clear_results(cfg.OUTPUT_DIR)
    if args.eval_only:
        model = build_model(cfg)
        checkpointer = PoseCheckpointer(model, cfg.OUTPUT_DIR)
        is_last = args.resume and checkpointer.has_checkpoint()
        checkpointer.load(checkpointer.get_checkpoint_file() if is_last else cfg.MODEL.WEIGHTS)
        results = Trainer.test(cfg, model)
    else:
        trainer = Trainer(cfg)
        trainer.resume_or_load(args.resume)
        results = trainer.train()
    if comm.is_main_process():
        write_results(cfg.OUTPUT_DIR, results)
        verify_results(cfg, results)
    return results


if __name__ == "__main__":
    parser = default_argument_parser()
    parser.set_defaults(dist_url="auto")
    arguments = parser.parse_args()
    try:
        launch(
            main,
            (arguments,),
            device=merge_config(get_cfg(), arguments.config_file, arguments.opts).MODEL.DEVICE,
            num_gpus=arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
        )
    except UsageError as error:
        sys.exit(f"{parser.prog}: {error}")
