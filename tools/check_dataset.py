"""Looks for what is wrong with a dataset before a training on it does; the exit status is 1 if anything is.

python tools/check_dataset.py my_dataset.yaml
python tools/check_dataset.py keypoints_coco_2017_val
"""

import argparse

from posecore.data import resolve_dataset
from posecore.engine.command_line import error_message, positive, run_tool
from posecore.evaluation.dataset_check import check_dataset


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", help="path of a definition (.yaml) or name of a built-in dataset")
    parser.add_argument("--images", type=positive, default=200, help="how many images to open")
    options = parser.parse_args()
    try:
        name = resolve_dataset(options.dataset)
        report = check_dataset(name, options.images)
    except (OSError, ValueError) as error:  # a dataset that cannot be read is a result too
        print(f"error: {error_message(error)}")
        return 1
    for kind, lines in (("", report.facts), ("warning: ", report.warnings), ("error: ", report.errors)):
        for line in lines:
            print(kind + line)
    print(f"{name}: {len(report.errors)} errors, {len(report.warnings)} warnings")
    return 1 if report.errors else 0


if __name__ == "__main__":
    run_tool(main, "check_dataset.py")
