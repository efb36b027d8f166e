"""Looks for what is wrong with a dataset before a training on it does; the exit status is 1 if anything is.

python tools/check_dataset.py my_dataset.yaml
python tools/check_dataset.py keypoints_coco_2017_val
python tools/check_dataset.py train.yaml --against val.yaml --config-file CONFIG --html page.html
"""

import argparse
from pathlib import Path

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.data import resolve_datasets
from posecore.engine.command_line import PAGES, check_output_file, error_message, positive, run_tool
from posecore.evaluation.dataset_check import check_dataset
from posecore.evaluation.visible_size import visible_size
from posecore.reports.dataset_page import write_dataset_page


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", help="path of a definition (.yaml) or name of a built-in dataset")
    parser.add_argument("--images", type=positive, default=200, help="how many images to open")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="DATASET",
        help="datasets that must not hold the same images, such as the other splits; all images are read",
    )
    parser.add_argument("--config-file", help="a configuration: warns of persons that its model cannot see")
    parser.add_argument("--html", type=Path, help="a page with charts and an image of each finding; and JSON")
    parser.add_argument("--opts", nargs="+", default=[], help="KEY VALUE pairs that change the configuration")
    options = parser.parse_args()
    if options.opts and not options.config_file:
        parser.error("--opts changes a configuration: add --config-file")
    if options.html:
        check_output_file(options.html, "--html", PAGES)
        check_output_file(options.html.with_suffix(".json"), "--html")
    visible = (
        visible_size(merge_config(get_cfg(), options.config_file, options.opts))
        if options.config_file
        else None
    )
    try:
        name, *others = resolve_datasets([options.dataset, *options.against])
        report = check_dataset(name, options.images, others=others, visible=visible)
        if options.html:
            write_dataset_page(name, report, options.html)
    except (OSError, ValueError) as error:  # a dataset that cannot be read is a result too
        print(f"error: {error_message(error)}")
        return 1
    for kind, lines in (("", report.facts), ("warning: ", report.warnings), ("error: ", report.errors)):
        for line in lines:
            print(kind + line)
    if options.html:
        print(f"page: {options.html}")
    print(f"{name}: {len(report.errors)} errors, {len(report.warnings)} warnings")
    return 1 if report.errors else 0


if __name__ == "__main__":
    run_tool(main, "check_dataset.py")
