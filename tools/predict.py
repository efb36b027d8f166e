"""Finds the poses in images, folders, videos or from a camera; draws them and writes them as JSON.

    python tools/predict.py --config-file CONFIG --input photo.jpg folder/ film.mp4 --output out \\
        MODEL.WEIGHTS model_final.pth

The output folder gets a drawing of every image under its name, a film of every video, and poses.json:
a list with, per image, its name, its number in the video, and per person the score, the box
(x0, y0, x1, y1) and the keypoints (x, y, confidence) by name, in continuous pixels.

A model that looks at one person at a time (Poseur) needs their boxes: from a detector, any model of this
project or of Detectron2 (--detector-config, --detector-weights), or from a file (--boxes), which is a
poses.json of the same images or detections in COCO's result format whose image_id is the image's name
without its ending, or the number that this name is.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

import posecore  # noqa: F401  (before Detectron2, whose gaps it closes)

# isort: split
from detectron2.structures import Instances

from posecore.checkpoint.weights import CheckpointError
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data import PersonBoxes, read_detections
from posecore.inference.predictor import Predictor
from posecore.inference.video import SourceImage, read_images
from posecore.structures.skeleton import Skeleton
from posecore.visualization.poses import draw_poses

DEFAULT_RATE = 25.0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, help="the model's configuration")
    parser.add_argument(
        "--input", nargs="+", required=True, help="images, folders, videos, or a camera's number"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for drawings and poses.json")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score of a person (default 0.3)")
    parser.add_argument("--detector-config", help="configuration of a detector of persons")
    parser.add_argument("--detector-weights", help="its weights")
    parser.add_argument("--boxes", type=Path, help="file with boxes of persons, instead of a detector")
    parser.add_argument("--show", action="store_true", help="show a window too; needs opencv-python; q stops")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs, MODEL.WEIGHTS among them")
    args = parser.parse_args()
    if bool(args.detector_config) != bool(args.detector_weights):
        parser.error("--detector-config and --detector-weights go together")
    if args.detector_config and args.boxes:
        parser.error("boxes come from --boxes or from --detector-config, not from both")
    return args


class Drawings:
    """Writes drawings into a folder: images as images, the frames of a video as one film."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.film: cv2.VideoWriter | None = None

    def write(self, frame: SourceImage, drawing: np.ndarray) -> None:
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


def boxes_by_frame(file: Path) -> Callable[[SourceImage], PersonBoxes]:
    """The boxes that a file holds for an image: a poses.json, or detections in COCO's result format.

    Raises:
        FileNotFoundError, ValueError: it is neither.
    """
    content = json.loads(file.read_bytes()) if file.is_file() else None
    if isinstance(content, list) and any("people" in item for item in content):
        found = {(item["name"], item["number"]): _people(item["people"]) for item in content}
        return lambda frame: _look_up(found, (frame.name, frame.number), file)
    detected = read_detections(file)
    nobody = PersonBoxes(np.zeros((0, 4)), np.zeros(0))

    def by_image_id(frame: SourceImage) -> PersonBoxes:
        stem = Path(frame.name).stem
        # Detectors write nothing of an image without anybody, but then its name must at least be a number.
        return detected.get(int(stem), nobody) if stem.isdigit() else _look_up(detected, stem, file)

    return by_image_id


def _people(people: list[dict[str, Any]]) -> PersonBoxes:
    boxes = np.array([person["box"] for person in people], dtype=float).reshape(-1, 4)
    return PersonBoxes(boxes, np.array([person["score"] for person in people], dtype=float))


def _look_up(found: dict[Any, PersonBoxes], key: Any, file: Path) -> PersonBoxes:
    if key not in found:
        raise UsageError(f"--boxes: {file} has nothing of image {key}; it has {list(found)[:5]}")
    return found[key]


def build_predictor(args: argparse.Namespace) -> Predictor:
    """The model, with a detector if one is asked for.

    Raises:
        UsageError: the model needs boxes and there are none, or has no use for them.
    """
    cfg = merge_config(get_cfg(), args.config_file, args.opts)
    if not args.detector_config:
        predictor = Predictor.from_config(cfg)
    else:
        overrides = ["MODEL.WEIGHTS", args.detector_weights, "MODEL.DEVICE", cfg.MODEL.DEVICE]
        detector = Predictor.from_config(merge_config(get_cfg(), args.detector_config, overrides))
        predictor = Predictor.from_config(cfg, detector)
    if predictor.samples.needs_boxes != bool(args.boxes or args.detector_config):
        raise UsageError(
            "this model looks at one person at a time: give --boxes, or --detector-config and "
            "--detector-weights"
            if predictor.samples.needs_boxes
            else "this model finds persons by itself: it takes no boxes and no detector"
        )
    return predictor


def as_json(frame: SourceImage, poses: Instances, skeleton: Skeleton) -> dict[str, Any]:
    """What poses.json says of one image."""
    people = []
    for score, box, keypoints in zip(
        poses.scores.tolist(), poses.pred_boxes.tensor.tolist(), poses.pred_keypoints.tolist(), strict=True
    ):
        named = dict(zip(skeleton.keypoints, keypoints, strict=True))
        people.append({"score": score, "box": box, "keypoints": named})
    return {"name": frame.name, "number": frame.number, "people": people}


def main() -> None:
    args = parse_args()
    predictor = build_predictor(args)
    find_boxes = boxes_by_frame(args.boxes) if args.boxes else lambda frame: None
    skeleton = predictor.model.skeleton
    args.output.mkdir(parents=True, exist_ok=True)
    drawings, records = Drawings(args.output), []
    frames = (frame for source in args.input for frame in read_images(source))
    try:
        for frame in tqdm(frames, unit="image"):
            poses = predictor(frame.image, find_boxes(frame))
            poses = poses[poses.scores >= args.threshold]
            drawing = draw_poses(frame.image, poses, skeleton)
            drawings.write(frame, drawing)
            records.append(as_json(frame, poses, skeleton))
            if args.show:
                cv2.imshow("posecore", cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
                if cv2.waitKey(1) == ord("q"):
                    break
    finally:  # what is found is not lost when a later image is broken
        drawings.close()
        (args.output / "poses.json").write_text(json.dumps(records, indent=1))
    people = sum(len(record["people"]) for record in records)
    print(f"{people} people in {len(records)} images: {args.output}")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, CheckpointError, FileNotFoundError, ValueError) as error:
        sys.exit(f"predict.py: {error}")
