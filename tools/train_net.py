"""Trains a model by a configuration, or with --eval-only evaluates it; docs/training.md says how."""

from functools import partial
from pathlib import Path

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from detectron2.engine import default_argument_parser

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.engine.command_line import TRAINING_ERRORS, check_output_folder, run_tool
from posecore.engine.launch import launch
from posecore.engine.train import check_folder, train_or_evaluate


def main() -> None:
    parser = default_argument_parser()
    parser.set_defaults(dist_url="auto")
    parser.add_argument("--overwrite", action="store_true", help="replace the training that OUTPUT_DIR holds")
    options = parser.parse_args()
    cfg = merge_config(get_cfg(), options.config_file, options.opts)
    check_output_folder(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR")
    modes = {key: getattr(options, key) for key in ("eval_only", "resume", "overwrite")}
    check_folder(cfg, **modes)
    launch(
        partial(train_or_evaluate, **modes),
        (options.config_file, options.opts),
        device=cfg.MODEL.DEVICE,
        num_gpus=options.num_gpus,
        num_machines=options.num_machines,
        machine_rank=options.machine_rank,
        dist_url=options.dist_url,
    )


if __name__ == "__main__":
    run_tool(main, "train_net.py", errors=TRAINING_ERRORS)
