"""The samples of top-down models: :class:`PersonCropSamples`, INPUT.SAMPLES "person_crops".

A training sample is the crop of one person; an evaluation sample holds the crops of all persons of an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances, Keypoints
from torch import Tensor

from posecore.config.options import choice
from posecore.data.images import MAX_PIXELS, pixel_limit
from posecore.data.mapper import IMAGE_FORMATS, ImageFormat, as_tensor, read_rgb
from posecore.data.person_boxes import PersonBoxes
from posecore.data.samples import Samples, register_samples
from posecore.inference.predictor import load_predictor
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.crops import CONTINUOUS, PIXEL_INDICES, CropGeometry, Region, transform, usable_boxes
from posecore.structures.skeleton import Skeleton, load_skeleton
from poseur.augment import PixelChange, RegionChange, build_pixel_changes, build_region_changes
from poseur.boxes import BoxSource, DetectorBoxes, FileBoxes, GroundTruthBoxes, check_detector_files


@register_samples("person_crops")
@dataclass(frozen=True, kw_only=True)
class PersonCropSamples(Samples):
    """Crops of persons.

    A sample has ``crops`` (M, 3, h, w) uint8, ``crop_to_image`` (M, 2, 3), which maps points of a crop to
    continuous pixels of the image, ``boxes`` (M, 4), those of the persons in the image, and ``box_scores``
    (M,); ``height`` and ``width`` of the image; where it comes from a dataset, also ``file_name`` and
    ``image_id``. In training M = 1, and ``instances`` has one person in pixels of its crop: gt_keypoints
    (1, K, 3), v = 0 and x = y = 0 where a keypoint is not labeled or outside the crop, gt_boxes and
    gt_classes, 0. In evaluation M may be 0.

    Attributes:
        geometry: how crops are cut.
        skeleton: defines which keypoints a flip swaps.
        ground_truth: boxes of the annotations, from which training crops are cut.
        source: boxes of evaluation.
        region_changes: augmentation of the region that a training crop shows, in this order.
        pixel_changes: augmentation of its pixels.
        image_format: order of the crops' channels, "BGR" or "RGB".
        min_keypoints: labeled keypoints that a training person must have; one is needed anyway.
        min_score: boxes with a lower score are not cut out in evaluation.
        max_pixels: as for :func:`posecore.data.images.read_image`.
    """

    same_shape = True
    needs_boxes = True

    geometry: CropGeometry
    skeleton: Skeleton
    ground_truth: GroundTruthBoxes
    source: BoxSource
    region_changes: Sequence[RegionChange]
    pixel_changes: Sequence[PixelChange]
    image_format: ImageFormat
    min_keypoints: int
    min_score: float
    max_pixels: int = MAX_PIXELS

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "PersonCropSamples":
        """
        Raises:
            ValueError: a key of INPUT has a value that it cannot have.
        """
        node = cfg.INPUT.CROPS
        if len(node.SIZE) != 2 or min(node.SIZE) < 1:
            raise ValueError(f"INPUT.CROPS.SIZE must be height and width, in pixels, not {node.SIZE}")
        coordinates = {"continuous": CONTINUOUS, "indices": PIXEL_INDICES}
        geometry = CropGeometry(
            size=tuple(node.SIZE),
            padding=node.PADDING,
            first_pixel=choice(cfg, "INPUT.CROPS.COORDINATES", coordinates),
        )
        skeleton = load_skeleton(cfg.DATASETS.SKELETON)
        ground_truth = GroundTruthBoxes.from_config(cfg, geometry)
        detector = node.DETECTOR.CONFIG_FILE, node.DETECTOR.WEIGHTS
        sources: dict[str, Callable[[], BoxSource]] = {
            "ground_truth": lambda: ground_truth,
            "file": lambda: FileBoxes(dict(zip(cfg.DATASETS.TEST, node.BOX_FILES, strict=False))),
            "detector": lambda: DetectorBoxes(
                load_detector=partial(load_predictor, *detector, cfg.MODEL.DEVICE),
                check_detector=partial(check_detector_files, *detector),
                max_pixels=pixel_limit(cfg),
            ),
        }
        return cls(
            geometry=geometry,
            skeleton=skeleton,
            ground_truth=ground_truth,
            source=choice(cfg, "INPUT.CROPS.BOXES", sources)(),
            region_changes=build_region_changes(cfg, skeleton),
            pixel_changes=build_pixel_changes(cfg),
            image_format=choice(cfg, "INPUT.FORMAT", IMAGE_FORMATS),
            min_keypoints=cfg.DATASETS.MIN_KEYPOINTS,
            min_score=node.MIN_SCORE,
            max_pixels=pixel_limit(cfg),
        )

    def train_records(self, images: list[dict]) -> list[dict]:
        """One record for each person that is cut out."""
        return [
            _origin(image) | {"annotation": person, "box": box}
            for image in images
            for person, box in self.ground_truth.people(image)
            if person["num_keypoints"] >= self.min_keypoints
        ]

    def test_records(self, dataset: str, images: list[dict]) -> list[dict]:
        """One record for each image, with the boxes of its persons."""
        people = self.source(dataset, images)
        return [_origin(image) | {"people": own} for image, own in zip(images, people, strict=True)]

    def check(self, dataset: str) -> None:
        """Checks that the boxes of a dataset will be found."""
        self.source.check(dataset)

    def train_sample(self, record: dict) -> dict[str, Any]:
        """The augmented crop of one person."""
        return self._person(record, self.region_changes, self.pixel_changes)

    def labeled_sample(self, record: dict) -> dict[str, Any]:
        """The crop of one person, not augmented."""
        return self._person(record, (), ())

    def test_sample(self, record: dict) -> dict[str, Any]:
        """The crops of all boxes of an image."""
        return _origin(record) | self.sample(read_rgb(record, self.max_pixels), record["people"])

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict[str, Any]:
        """
        Raises:
            ValueError: no boxes are given; for an image without persons they are empty instead.
        """
        if boxes is None:
            raise ValueError("crops are cut around the persons of an image: their boxes must be given")
        kept = usable_boxes(boxes.boxes, boxes.scores, self.min_score)
        people = PersonBoxes(boxes.boxes[kept], boxes.scores[kept])
        regions = [self.geometry.region(box) for box in people.boxes]
        crops = [self.geometry.cut(image, region) for region in regions]
        height, width = image.shape[:2]
        return self._assemble(crops, regions, people) | {"height": height, "width": width}

    def _person(
        self, record: dict, region_changes: Sequence[RegionChange], pixel_changes: Sequence[PixelChange]
    ) -> dict[str, Any]:
        image = read_rgb(record, self.max_pixels)
        keypoints = np.array(record["annotation"]["keypoints"], dtype=np.float64).reshape(-1, 3)
        keypoints = self.geometry.in_image(keypoints)
        region = self.geometry.region(record["box"])
        for change in region_changes:
            region = change(region, keypoints)
        crop = self.geometry.cut(image, region)
        for recolor in pixel_changes:
            crop = recolor(crop)
        boxes = PersonBoxes(record["box"][None], np.ones(1))
        return {
            **_origin(record),
            **self._assemble([crop], [region], boxes),
            "instances": self._instances(record["box"], keypoints, region),
        }

    def _assemble(
        self, crops: list[np.ndarray], regions: list[Region], people: PersonBoxes
    ) -> dict[str, Tensor]:
        tensors = [as_tensor(crop, self.image_format) for crop in crops]
        affines = np.array([self.geometry.crop_to_image(region) for region in regions])
        return {
            "crops": torch.stack(tensors) if tensors else torch.zeros(0, 3, *self.geometry.size).byte(),
            "crop_to_image": torch.from_numpy(affines).float().view(-1, 2, 3),
            "boxes": torch.from_numpy(people.boxes).float(),
            "box_scores": torch.from_numpy(people.scores).float(),
        }

    def _instances(self, box: np.ndarray, keypoints: np.ndarray, region: Region) -> Instances:
        """The person of a training crop: box (4,) and keypoints (K, 3) in the image."""
        affine = self.geometry.image_to_crop(region)
        points = transform(keypoints[:, :2], affine)
        labeled = self.geometry.inside(points) & (keypoints[:, 2] > 0)
        moved = np.concatenate([points, keypoints[:, 2:]], axis=1) * labeled[:, None]
        if region.flipped:
            moved = moved[list(self.skeleton.flip_indices)]
        corners = transform(box[[[0, 1], [2, 1], [2, 3], [0, 3]]], affine)
        boxes = Boxes(enclosing_boxes(torch.from_numpy(corners)).float()[None])
        boxes.clip(self.geometry.size)
        return Instances(
            self.geometry.size,
            gt_boxes=boxes,
            gt_classes=torch.zeros(1, dtype=torch.int64),
            gt_keypoints=Keypoints(torch.from_numpy(moved).float()[None]),
        )


def _origin(record: dict) -> dict[str, Any]:
    return {key: record[key] for key in ("file_name", "image_id", "height", "width")}
