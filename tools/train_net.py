"""Trains a model by a configuration, or with --eval-only evaluates it; docs/training.md says how."""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from detectron2.engine import default_argument_parser

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.sources import config_with_sources
from posecore.engine.command_line import TRAINING_ERRORS, check_output_folder, positive, run_tool
from posecore.engine.dry_run import dry_run
from posecore.engine.launch import DEFAULT_TIMEOUT, is_restart, launch
from posecore.engine.profiling import profile_steps
from posecore.engine.train import check_folder, train_or_evaluate


def main() -> None:
    parser = default_argument_parser()
    parser.set_defaults(dist_url="auto")
    parser.add_argument("--overwrite", action="store_true", help="replace the training that OUTPUT_DIR holds")
    parser.add_argument(
        "--timeout",
        type=positive,
        default=int(DEFAULT_TIMEOUT.total_seconds()),
        metavar="SECONDS",
        help="after which a process gives up waiting for another one (1800)",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--print-config", action="store_true", help="print the configuration with the source of each value"
    )
    instead.add_argument(
        "--dry-run",
        action="store_true",
        help="make two steps and evaluate two images, write nothing, print losses, times and memory",
    )
    instead.add_argument(
        "--profile", type=positive, metavar="N", help="profile N steps into OUTPUT_DIR/profile, train nothing"
    )
    options = parser.parse_args()
    if (options.dry_run or options.profile) and (options.eval_only or options.resume or options.overwrite):
        parser.error(
            "--dry-run and --profile begin a training anew and keep OUTPUT_DIR: give them without "
            "--eval-only, --resume and --overwrite"
        )
    cfg = merge_config(get_cfg(), options.config_file, options.opts)
    if options.print_config:
        print(config_with_sources(cfg, options.config_file, options.opts))
        return
    check_output_folder(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR")
    modes = {key: getattr(options, key) for key in ("eval_only", "resume", "overwrite")}
    if is_restart(os.environ) and not options.eval_only:
        modes |= {"resume": True, "overwrite": False}
    if options.dry_run:
        work: Callable[..., object] = dry_run
    elif options.profile:
        work = partial(profile_steps, steps=options.profile)
    else:
        check_folder(cfg, **modes)
        work = partial(train_or_evaluate, **modes)
    launch(
        work,
        (options.config_file, options.opts),
        device=cfg.MODEL.DEVICE,
        num_gpus=options.num_gpus,
        num_machines=options.num_machines,
        machine_rank=options.machine_rank,
        dist_url=options.dist_url,
        timeout=timedelta(seconds=options.timeout),
    )


if __name__ == "__main__":
    run_tool(main, "train_net.py", errors=TRAINING_ERRORS)
