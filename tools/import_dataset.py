"""Makes a dataset of the files of a labeling tool, and checks it; docs/own_data.md says what to do next.

    python tools/import_dataset.py labels/ --output datasets/dogs --split 0.8 0.2
    python tools/import_dataset.py export.zip --output datasets/dogs --format cvat --category dog
    python tools/import_dataset.py datasets/dogs --to yolo --output dogs_yolo

SOURCE is a file, a folder or a zip archive; its format is recognized. Images are linked, not copied. The exit
status is 1 if the check of the dataset finds errors; it is written all the same.
"""

import argparse
import shlex
from pathlib import Path

from posecore.data import resolve_dataset
from posecore.data.importers import IMPORTERS
from posecore.data.importers.convert import import_dataset, read_keypoint_names
from posecore.data.importers.export import EXPORTERS
from posecore.data.importers.options import ImportOptions
from posecore.data.importers.splits import GROUPS
from posecore.engine.command_line import check_output_folder, error_message, positive, run_tool
from posecore.evaluation.dataset_check import check_dataset
from posecore.evaluation.findings import Report

# Options that an export does not have.
_FOR_IMPORT = (
    "format",
    "category",
    "keypoints",
    "images",
    "split",
    "split_by",
    "seed",
    "skip_missing",
    "overwrite",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", type=Path, help="file, folder or zip archive; with --to a dataset's definition"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the dataset")
    parser.add_argument("--format", choices=[*IMPORTERS], help="of the source (recognized)")
    parser.add_argument("--category", help="the category to take where the source has several")
    parser.add_argument("--keypoints", type=Path, metavar="FILE", help="names of the keypoints, one per line")
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="where images and videos are looked for first"
    )
    parser.add_argument(
        "--split",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="shares of train, val and test, such as 0.8 0.2",
    )
    parser.add_argument(
        "--split-by",
        choices=["auto", *GROUPS],
        default="auto",
        help="what stays on one side of the split (auto: videos where there are any, else images); similar "
        "reads all images and keeps those together that resemble each other",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split (0)")
    parser.add_argument(
        "--min-score",
        type=float,
        default=ImportOptions.min_score,
        metavar="SCORE",
        help="of --format predictions: persons with a lower score are left out (%(default)s)",
    )
    parser.add_argument(
        "--min-keypoint-score",
        type=float,
        default=ImportOptions.min_keypoint_score,
        metavar="SCORE",
        help="of --format predictions: keypoints with a lower confidence are not labeled (%(default)s)",
    )
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    parser.add_argument(
        "--skip-missing", action="store_true", help="leave out images whose files are not found"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier import in --output")
    parser.add_argument("--to", choices=[*EXPORTERS], help="export a dataset of this project instead")
    parser.add_argument(
        "--check-images", type=positive, default=200, help="how many images the check opens (200)"
    )
    options = parser.parse_args()
    check_output_folder(options.output)
    if options.to:
        given = [name for name in _FOR_IMPORT if getattr(options, name) != parser.get_default(name)]
        if given:
            parser.error(f"--{given[0].replace('_', '-')} has no effect with --to, which exports a dataset")
        for line in EXPORTERS[options.to](options.source, options.output, copy=options.copy):
            print(line)
        return 0
    if options.seed < 0:
        parser.error(f"--seed must be 0 or more, not {options.seed}")
    for name in ("min_score", "min_keypoint_score"):
        if not 0 <= getattr(options, name) <= 1:
            parser.error(f"--{name.replace('_', '-')} must be from 0 to 1, not {getattr(options, name):g}")
    source_options = ImportOptions(
        category=options.category,
        keypoints=read_keypoint_names(options.keypoints) if options.keypoints else None,
        images=options.images,
        min_score=options.min_score,
        min_keypoint_score=options.min_keypoint_score,
    )
    summary = import_dataset(
        options.source,
        options.output,
        source_options,
        format=options.format,
        shares=options.split,
        split_by=options.split_by,
        seed=options.seed,
        copy=options.copy,
        overwrite=options.overwrite,
        skip_missing=options.skip_missing,
    )
    for line in summary.lines():
        print(line)
    errors = 0
    for split in summary.splits:
        try:
            report = check_dataset(resolve_dataset(str(split.definition)), options.check_images)
        except (OSError, ValueError) as error:  # the dataset is written all the same
            report = Report()
            report.fail(error_message(error))
        errors += len(report.errors)
        print(f"check of {split.definition}: {len(report.errors)} errors, {len(report.warnings)} warnings")
        for line in [
            *(f"  error: {line}" for line in report.errors),
            *(f"  warning: {line}" for line in report.warnings),
        ]:
            print(line)
    if errors:
        print(f"next: correct the {errors} errors above, and import again with --overwrite")
        return 1
    print(
        f"next: python tools/new_config.py --dataset {shlex.quote(str(options.output))} --method fcpose "
        "--output my_config.yaml"
    )
    return 0


if __name__ == "__main__":
    run_tool(main, "import_dataset.py")
