"""Makes the datasets lspet_train and lspet_test of the published archive of Leeds Sports Pose extended.

    unzip lspet_dataset.zip -d lspet_archive
    python datasets/prepare_lspet.py lspet_archive --output datasets/lspet

The archive is the folder with joints.mat and images/. --output gets train.json and test.json in COCO's
keypoint format, and images/, cut around the labeled person. The rules are in posecore/data/lspet.py.
"""

import argparse
from pathlib import Path

from posecore.data.lspet import prepare_lspet
from posecore.engine.command_line import check_output_folder, positive, run_tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, help="folder of the unpacked archive")
    parser.add_argument("--output", type=Path, default=Path("datasets/lspet"), help="folder of the datasets")
    parser.add_argument("--test", type=positive, default=1000, help="number of images of lspet_test (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (0)")
    options = parser.parse_args()
    check_output_folder(options.output)
    counts = prepare_lspet(options.archive, options.output, num_test=options.test, seed=options.seed)
    print(f"{options.output}: {counts.train} images in train.json, {counts.test} in test.json")
    print(
        f"{counts.left_out} left out; {counts.duplicates} images in {counts.groups} groups of near duplicates"
    )


if __name__ == "__main__":
    run_tool(main, "prepare_lspet.py")
