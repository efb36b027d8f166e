"""What is wrong with the poses of an evaluation, and what each kind of error costs in AP."""

import argparse
import json
from pathlib import Path

from detectron2.utils.logger import create_small_table
from tabulate import tabulate

from posecore.config.merge import UsageError
from posecore.data import dataset_metadata, read_dataset, register_definitions
from posecore.evaluation.errors import KINDS, Errors, find_errors
from posecore.evaluation.submission import check_results
from posecore.structures.skeleton import Skeleton


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help="path of a definition (.yaml) or name of a built-in dataset")
    parser.add_argument("results", type=Path, help="coco_instances_results.json of an evaluation on it")


def run(options: argparse.Namespace) -> None:
    name = options.dataset
    if name.endswith((".yaml", ".yml")):
        (name,) = register_definitions([name])
    skeleton = dataset_metadata(name).skeleton
    ground_truth = read_dataset(name, skeleton)
    if "annotations" not in ground_truth:
        raise UsageError(f"{name} has no annotations to compare poses with")
    try:
        results = json.loads(options.results.read_text())
        image_ids = {image["id"] for image in ground_truth["images"]}
        check_results(results, image_ids=image_ids, num_keypoints=skeleton.num_keypoints)
    except ValueError as error:
        raise UsageError(f"{options.results}: {error}") from error
    print(describe(find_errors(ground_truth, results, skeleton), skeleton))


def describe(errors: Errors, skeleton: Skeleton) -> str:
    """Two tables: shares of each keypoint's kinds in percent, and gains in AP."""
    rows = []
    for k, keypoint in enumerate(skeleton.keypoints):
        counts = [int(errors.keypoints[kind][k]) for kind in KINDS]
        shares = [100 * count / max(sum(counts), 1) for count in counts]
        rows.append([keypoint, sum(counts), *shares])
    shares_table = tabulate(rows, headers=["keypoint", "found", *KINDS], floatfmt=".1f")
    return (
        f"{shares_table}\n\n"
        f"{errors.num_background} poses are nobody's, {errors.num_missed} persons are not found.\n"
        f"AP is {errors.precision:.1f}; it would be higher by this if one kind of error were mended:\n"
        f"{create_small_table(errors.gains)}"
    )
