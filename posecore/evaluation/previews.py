"""Draws the poses and the ground truth of the first images of a dataset: :class:`Previews`."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm

from posecore.data.image_writer import write_image
from posecore.data.images import read_image
from posecore.structures.skeleton import Skeleton
from posecore.visualization.poses import draw_poses, grid

logger = logging.getLogger(__name__)

# The score above which poses are drawn.
MIN_SCORE = 0.3
# The longer side of a drawn image, pixels.
SIDE = 480


class Previews(DatasetEvaluator):
    """Draws ground truth and predictions side by side into one image.

    Args:
        records: of the images, as :func:`posecore.data.load_dataset` returns them; for records without
            annotations only predictions are drawn.
        skeleton: of the dataset.
        out_png: the image to write.
    """

    def __init__(self, records: Sequence[dict[str, Any]], skeleton: Skeleton, out_png: Path) -> None:
        self._records = {record["image_id"]: record for record in records}
        self._skeleton = skeleton
        self._out_png = out_png
        self._found: dict[int | str, Instances] = {}

    def reset(self) -> None:
        """Forgets the predictions."""
        self._found = {}

    def process(self, inputs: Iterable[dict[str, Any]], outputs: Iterable[dict[str, Instances]]) -> None:
        """Keeps the predictions for the images that are drawn."""
        for image, output in zip(inputs, outputs, strict=True):
            if image["image_id"] in self._records:
                instances = output["instances"].to("cpu")
                self._found[image["image_id"]] = instances[instances.scores > MIN_SCORE]

    def evaluate(self) -> None:
        """Draws the image; a failure is only a warning."""
        parts = comm.gather(self._found)
        found = {image_id: instances for part in parts for image_id, instances in part.items()}
        try:
            self._draw(found)
        except Exception as error:  # Whatever goes wrong here, a drawing must not cost the results.
            logger.warning("the previews %s are not drawn: %s", self._out_png, error)

    def _draw(self, found: dict[int, Instances]) -> None:
        drawings, captions = [], []
        for image_id in (image_id for image_id in self._records if image_id in found):
            record = self._records[image_id]
            image = read_image(record["file_name"], max_pixels=0)  # The evaluation has read it.
            scale = SIDE / max(image.shape[:2])
            name = Path(record["file_name"]).name
            if "annotations" in record:
                drawings.append(draw_poses(image, self._ground_truth(record), self._skeleton, scale=scale))
                captions.append(f"{name}: ground truth")
            drawings.append(draw_poses(image, found[image_id], self._skeleton, scale=scale))
            captions.append(f"{name}: found")
        if drawings:
            self._out_png.parent.mkdir(parents=True, exist_ok=True)
            write_image(self._out_png, grid(drawings, columns=4, captions=captions))

    def _ground_truth(self, record: dict[str, Any]) -> Instances:
        people = [person for person in record["annotations"] if person["num_keypoints"] > 0]
        ground_truth = Instances((record["height"], record["width"]))
        keypoints = torch.tensor([person["keypoints"] for person in people])
        ground_truth.gt_keypoints = keypoints.reshape(len(people), self._skeleton.num_keypoints, 3)
        boxes = [BoxMode.convert(person["bbox"], person["bbox_mode"], BoxMode.XYXY_ABS) for person in people]
        ground_truth.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
        return ground_truth
