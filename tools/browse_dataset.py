"""Draws training samples as models get them, after crops, flips and all, with their boxes and keypoints.

    python tools/browse_dataset.py --config-file configs/directpose/R_50_25ep.yaml --output samples.png
    python tools/browse_dataset.py --config-file configs/directpose/R_50_25ep.yaml --output samples.html

Look at left (orange) and right (blue): half of the samples are flipped, and still the person's own left
must be orange. Hidden keypoints are rings.
"""

import argparse
from pathlib import Path

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.data.image_writer import write_image
from posecore.engine.command_line import IMAGES, PAGES, check_output_file, positive, run_tool
from posecore.reports.samples_page import write_samples_page
from posecore.visualization.training_samples import draw_training_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, help="the configuration to train with")
    parser.add_argument(
        "--output",
        type=Path,
        default="samples.png",
        help="the image or the page (.html) to write (samples.png)",
    )
    parser.add_argument("--count", type=positive, default=12, help="number of samples (12)")
    parser.add_argument("--columns", type=positive, default=4, help="samples per row (4)")
    parser.add_argument(
        "--width", type=positive, default=480, help="width of each in the image, pixels (480)"
    )
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other samples (0)")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs that change the configuration"
    )
    options = parser.parse_args()
    if not 0 <= options.seed < 2**32:  # numpy's
        parser.error(f"--seed must be from 0 to {2**32 - 1}, not {options.seed}")
    check_output_file(options.output, endings=(*IMAGES, *PAGES))
    cfg = merge_config(get_cfg(), options.config_file, options.opts)
    if options.output.suffix.lower() in PAGES:
        write_samples_page(cfg, options.output, count=options.count, side=options.width, seed=options.seed)
        print(f"{options.count} samples: {options.output}")
        return
    image = draw_training_samples(
        cfg,
        count=options.count,
        columns=options.columns,
        width=options.width,
        seed=options.seed,
    )
    write_image(options.output, image)
    print(f"{options.count} samples: {options.output}")


if __name__ == "__main__":
    run_tool(main, "browse_dataset.py")
