"""Makes a submission for COCO's keypoint server from a model, or from results that are there already.

    python tools/submit.py --config-file CONFIG --output submission --name mine MODEL.WEIGHTS model_final.pth
    python tools/submit.py --config-file CONFIG --output submission --name mine \\
        --results output/inference/keypoints_coco_2017_test-dev/coco_instances_results.json

The first finds the poses of all images, as train_net.py --eval-only does (--num-gpus, --launcher and KEY
VALUE pairs as there, TEST.AUG.ENABLED True among them). Every entry is checked before anything is written:
the archive is person_keypoints_test-dev2017_<name>_results.zip.
"""

import argparse
import re
from pathlib import Path

from posecore.engine.command_line import add_launcher_options, check_output_folder, run_tool
from posecore.engine.submit import SPLITS, make_submission


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, help="the model's configuration")
    parser.add_argument("--output", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--name", default="posecore", help="of the method, as the server shows it (posecore)")
    parser.add_argument("--split", choices=SPLITS, default="test-dev2017", help="of COCO (test-dev2017)")
    parser.add_argument("--results", type=Path, help="take these results instead of running the model")
    add_launcher_options(parser)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")
    options = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+", options.name):
        parser.error(f"--name {options.name!r}: use letters, digits, '.', '_' and '-'")
    check_output_folder(options.output)
    made = make_submission(
        options.config_file,
        options.opts,
        output=options.output,
        algorithm=options.name,
        split=options.split,
        results_file=options.results,
        launcher=options.launcher,
        num_gpus=options.num_gpus,
    )
    print(f"{made.num_poses} poses in {made.num_images} of {made.num_dataset_images} images: {made.archive}")


if __name__ == "__main__":
    run_tool(main, "submit.py")
