"""Finds the poses in pictures, folders, videos or from a camera; draws them and writes them as JSON.

    python tools/predict.py --config-file CONFIG --input photo.jpg folder/ film.mp4 --output out \\
        MODEL.WEIGHTS model_final.pth

The output folder gets a drawing of every picture under its name, a film of every video, and poses.json:
a list with, per picture, its name, its number in the video, and per person the score, the box
(x0, y0, x1, y1) and the keypoints (x, y, confidence) by name, in continuous pixels.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from detectron2.structures import Instances

from posecore.config import get_cfg
from posecore.engine.setup import UsageError, merge_config
from posecore.engine.weights import CheckpointError
from posecore.frames import Frame, read_frames
from posecore.keypoints import Skeleton
from posecore.predictor import Predictor
from posecore.visualize import draw_poses

DEFAULT_RATE = 25.0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="the model's configuration")
    parser.add_argument(
        "--input", nargs="+", required=True, help="pictures, folders, videos, or a camera's number"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for drawings and poses.json")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score of a person (default 0.3)")
    parser.add_argument("--show", action="store_true", help="show a window too; needs opencv-python; q stops")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")
    return parser.parse_args()


class Drawings:
    """Writes drawings into a folder: pictures as pictures, the frames of a video as one film."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.film: cv2.VideoWriter | None = None

    def write(self, frame: Frame, drawing: np.ndarray) -> None:
        bgr = cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR)
        if frame.number is None:
            self.close()
            file = self.folder / frame.name
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), bgr)
            return
        if frame.number == 0:
            self.close()
            name = f"{Path(frame.name).stem}.mp4"
            size = (bgr.shape[1], bgr.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self.film = cv2.VideoWriter(str(self.folder / name), codec, frame.rate or DEFAULT_RATE, size)
        self.film.write(bgr)

    def close(self) -> None:
        """Finishes the film at hand."""
        if self.film is not None:
            self.film.release()
            self.film = None


def as_json(frame: Frame, poses: Instances, skeleton: Skeleton) -> dict[str, Any]:
    """What poses.json says of one picture."""
    people = []
    for score, box, keypoints in zip(
        poses.scores.tolist(), poses.pred_boxes.tensor.tolist(), poses.pred_keypoints.tolist(), strict=True
    ):
        named = dict(zip(skeleton.keypoints, keypoints, strict=True))
        people.append({"score": score, "box": box, "keypoints": named})
    return {"name": frame.name, "number": frame.number, "people": people}


def main() -> None:
    args = parse_args()
    cfg = merge_config(get_cfg(), args.config_file, args.opts)
    predictor = Predictor.from_config(cfg)
    skeleton = predictor.model.skeleton
    args.output.mkdir(parents=True, exist_ok=True)
    drawings, records = Drawings(args.output), []
    frames = (frame for source in args.input for frame in read_frames(source))
    try:
        for frame in tqdm(frames, unit="picture"):
            poses = predictor(frame.image)
            poses = poses[poses.scores >= args.threshold]
            drawing = draw_poses(frame.image, poses, skeleton)
            drawings.write(frame, drawing)
            records.append(as_json(frame, poses, skeleton))
            if args.show:
                cv2.imshow("posecore", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
                if cv2.waitKey(1) == ord("q"):
                    break
    finally:  # what is found is not lost when a later picture is broken
        drawings.close()
        (args.output / "poses.json").write_text(json.dumps(records, indent=1))
    people = sum(len(record["people"]) for record in records)
    print(f"{people} people in {len(records)} pictures: {args.output}")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, CheckpointError, FileNotFoundError, ValueError) as error:
        sys.exit(f"predict.py: {error}")
