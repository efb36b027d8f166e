"""The base of every model, :class:`PoseEstimator`: images in, losses or poses out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from posecore.modeling import backbones as _backbones  # noqa: F401  (registers them)
from posecore.modeling.backbones.build import build_backbone
from posecore.structures.skeleton import Skeleton, load_skeleton


@dataclass(frozen=True)
class CommonParts:
    """What the models of all methods are built with.

    Attributes:
        backbone: a Detectron2 ``Backbone``, from (N, 3, H, W) to named feature maps.
        skeleton: defines the keypoints of a person.
        pixel_mean: per channel, in the order of ``cfg.INPUT.FORMAT``, 0-255.
        pixel_std: per channel.
        shift: pixels of the original image that keypoints are moved right and down by in the end: 0.5 for
            weights that were trained with the center of the first pixel at 0.
    """

    backbone: Backbone
    skeleton: Skeleton
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    shift: float = 0.0

    @classmethod
    def from_config(cls, cfg: CfgNode, shift: float = 0.0) -> "CommonParts":
        """The parts that MODEL.BACKBONE, DATASETS.SKELETON, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD name."""
        return cls(
            backbone=build_backbone(cfg),
            skeleton=load_skeleton(cfg.DATASETS.SKELETON),
            pixel_mean=tuple(cfg.MODEL.PIXEL_MEAN),
            pixel_std=tuple(cfg.MODEL.PIXEL_STD),
            shift=shift,
        )


class PoseEstimator(nn.Module, ABC):
    """A Detectron2 meta-architecture that finds the poses of all persons in images.

    A method implements :meth:`losses` and :meth:`predict`. Normalizing and padding the images before, and
    bringing the poses to the original images after, is the same for all methods and stands here.

    Args:
        common: the backbone, the skeleton and the numbers that images are normalized by.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, common: CommonParts) -> None:
        super().__init__()
        self.backbone = common.backbone
        self.skeleton = common.skeleton
        self.shift = common.shift
        self.register_buffer("pixel_mean", torch.tensor(common.pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(common.pixel_std).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device of the model, to which images are moved."""
        return self.pixel_mean.device

    def dense_modules(self) -> list[nn.Module]:
        """The modules of whole maps, whose shapes follow from that of the images; MODEL.COMPILE's.

        A method adds its dense heads to the backbone.
        """
        return [self.backbone]

    @abstractmethod
    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """The losses of a training batch, with the same keys on every step and every process.

        Args:
            images: normalized and padded, (N, C, H, W).
            targets: per image gt_boxes, gt_classes and gt_keypoints (G, K, 3), in its pixels; G may be 0.
        """

    @abstractmethod
    def predict(self, images: ImageList) -> list[Instances]:
        """Per image pred_boxes, scores, pred_classes and pred_keypoints (M, K, 3), in its pixels.

        A method that works on crops of the images makes the crops in :meth:`preprocess`, and joins the
        poses of an image in :meth:`postprocess`.

        Args:
            images: the result of :meth:`preprocess`, (N, C, H, W).
        """

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """In training mode the losses of a batch, otherwise its poses.

        Args:
            batched_inputs: one dict per image. Each has ``image`` (C, H, W), 0-255; in training ``instances``
                with the ground truth; otherwise optionally ``height`` and ``width`` of the original image, in
                whose coordinates the poses are returned. The dicts are not modified.

        Returns:
            In training :meth:`compute_losses`; otherwise per image ``{"instances": Instances}``.
        """
        if self.training:
            return self.compute_losses(batched_inputs)
        images = self.preprocess(batched_inputs)
        results = self.postprocess(self.predict(images), images, batched_inputs)
        return [{"instances": result} for result in results]

    def compute_losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The losses of a batch by name, in training and in evaluation mode.

        In evaluation mode they are those of the network as it predicts: without dropout, and with the running
        statistics of its norms.

        Args:
            batched_inputs: as :meth:`forward` takes them in training; they are not modified.

        Raises:
            ValueError: the persons have another number of keypoints than the skeleton.
        """
        images = self.preprocess(batched_inputs)
        return self.losses(images, [self._target(inputs) for inputs in batched_inputs])

    def preprocess(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalizes, then pads with zeros to a common size that the backbone can divide."""
        images = [(x["image"].to(self.device) - self.pixel_mean) / self.pixel_std for x in batched_inputs]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def postprocess(
        self, results: list[Instances], images: ImageList, batched_inputs: list[dict[str, Any]]
    ) -> list[Instances]:
        """The poses of :meth:`predict`, per image and in the coordinates of the original image."""
        return [
            rescale(result, (inputs.get("height", size[0]), inputs.get("width", size[1])), self.shift)
            for result, inputs, size in zip(results, batched_inputs, images.image_sizes, strict=True)
        ]

    def _target(self, inputs: dict[str, Any]) -> Instances:
        instances = inputs["instances"].to(self.device)
        if instances.has("gt_keypoints"):
            found = instances.gt_keypoints.tensor.shape[1]
            if len(instances) and found != self.skeleton.num_keypoints:
                raise ValueError(
                    f"{inputs.get('file_name', 'an image')} has persons with {found} keypoints, but the "
                    f"model was built for the {self.skeleton.num_keypoints} of skeleton "
                    f"{self.skeleton.name!r} (DATASETS.SKELETON)"
                )
        return instances


def make_detections(
    image_size: tuple[int, int],
    boxes: Boxes,
    scores: Tensor,
    keypoints: Tensor,
    classes: Tensor | None = None,
) -> Instances:
    """Assembles the detections of one image.

    Args:
        image_size: (height, width) of the image whose pixels the detections are in.
        boxes: M boxes.
        scores: (M,).
        keypoints: (M, K, 3), x, y and confidence.
        classes: (M,) int64; None for 0, a person, for all.

    Returns:
        pred_boxes, scores, pred_classes and pred_keypoints.
    """
    if classes is None:
        classes = torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
    return Instances(
        image_size, pred_boxes=boxes, scores=scores, pred_classes=classes, pred_keypoints=keypoints
    )


def rescale(instances: Instances, size: tuple[int, int], shift: float = 0.0) -> Instances:
    """The same detections in an image of another size.

    Detectron2's own post-processing drops boxes without area; a pose whose keypoints lie on a line is
    still a pose, so nothing is dropped here.

    Args:
        instances: with pred_boxes and pred_keypoints in pixels of ``instances.image_size``.
        size: (height, width) to scale to.
        shift: pixels of the new size that keypoints are then moved right and down by.

    Returns:
        A copy; boxes are clipped to the image, keypoints are not.
    """
    height, width = size
    factors = torch.tensor(
        [width / instances.image_size[1], height / instances.image_size[0]], device=instances.scores.device
    )
    scaled = Instances((height, width), **instances.get_fields())
    boxes = Boxes(instances.pred_boxes.tensor * factors.repeat(2))
    boxes.clip((height, width))
    scaled.pred_boxes = boxes
    keypoints = instances.pred_keypoints
    scaled.pred_keypoints = torch.cat([keypoints[..., :2] * factors + shift, keypoints[..., 2:]], dim=-1)
    return scaled
