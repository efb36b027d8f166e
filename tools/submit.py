"""Makes a submission for COCO's keypoint server from a model, or from results that are there already.

    python tools/submit.py --config-file CONFIG --output submission --name mine MODEL.WEIGHTS model_final.pth
    python tools/submit.py --config-file CONFIG --output submission --name mine \\
        --results output/inference/keypoints_coco_2017_test-dev/coco_instances_results.json

The first finds the poses of all images, as train_net.py --eval-only does (--num-gpus, --launcher and KEY
VALUE pairs as there, TEST.AUG.ENABLED True among them). Every entry is checked before anything is written:
the archive is person_keypoints_test-dev2017_<name>_results.zip.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data import dataset_metadata, read_coco
from posecore.evaluation.submission import best_of_each_image, check_results, write_submission
from posecore.structures.skeleton import load_skeleton
from runs import Run, add_launcher

SPLITS = {"test-dev2017": "keypoints_coco_2017_test-dev", "val2017": "keypoints_coco_2017_val"}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", type=Path, required=True, help="the model's configuration")
    parser.add_argument("--output", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--name", default="posecore", help="of the method, as the server shows it (posecore)")
    parser.add_argument("--split", choices=SPLITS, default="test-dev2017", help="of COCO (test-dev2017)")
    parser.add_argument("--results", type=Path, help="take these results instead of running the model")
    add_launcher(parser)
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")
    options = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+", options.name):
        parser.error(f"--name {options.name!r}: use letters, digits, '.', '_' and '-'")
    return options


def find_poses(options: argparse.Namespace, dataset: str) -> Path:
    """Runs the model on the dataset and returns the file of its results."""
    overrides = (*options.opts, "DATASETS.TEST", repr((dataset,)))
    run = Run(options.name, options.config_file, overrides, options.output)
    command = run.command(launcher=options.launcher, num_gpus=options.num_gpus, eval_only=True)
    if subprocess.run(command).returncode != 0:
        raise UsageError("the evaluation failed; see above")
    return options.output / "inference" / dataset / "coco_instances_results.json"


def main() -> None:
    options = parse()
    cfg = merge_config(get_cfg(), options.config_file, options.opts)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    dataset = SPLITS[options.split]
    content = read_coco(dataset_metadata(dataset).json_file, skeleton)
    image_ids = {image["id"] for image in content["images"]}
    file = options.results or find_poses(options, dataset)
    try:
        results = json.loads(file.read_text())
        check_results(results, image_ids=image_ids, num_keypoints=skeleton.num_keypoints)
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    kept = best_of_each_image(results)
    archive = write_submission(kept, options.output, split=options.split, algorithm=options.name)
    images = len({result["image_id"] for result in kept})
    print(f"{len(kept)} poses in {images} of {len(image_ids)} images: {archive}")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, FileNotFoundError, ValueError) as error:
        sys.exit(f"submit.py: {error}")
