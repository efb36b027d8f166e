"""A trained model for whoever has pictures and wants poses."""

from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from posecore.engine.checkpoint import PoseCheckpointer


class Predictor:
    """Turns pictures into poses.

    Args:
        model: any :class:`~posecore.estimator.PoseEstimator`; put into evaluation mode.
        resize: what a picture goes through first.
        image_format: order of the channels that the model takes, "BGR" or "RGB".

    Example::

        cfg = get_cfg()
        cfg.merge_from_file("configs/directpose/R_50_25ep.yaml")
        cfg.MODEL.WEIGHTS = "model_final.pth"
        poses = Predictor.from_config(cfg)(image)  # (H, W, 3) uint8 RGB
        poses.pred_keypoints, poses.scores
    """

    def __init__(self, model: nn.Module, resize: T.Augmentation, image_format: str) -> None:
        self.model = model.eval()
        self.resize = resize
        self.image_format = image_format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "Predictor":
        """The model of ``cfg`` with the weights of MODEL.WEIGHTS, and the resize of its evaluation."""
        model = build_model(cfg)
        PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS)
        resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")
        return cls(model, resize, cfg.INPUT.FORMAT)

    def __call__(self, image: np.ndarray) -> Instances:
        """The poses of one (H, W, 3) uint8 RGB picture, in its pixels; on the CPU."""
        return self.batch([image])[0]

    @torch.no_grad()
    def batch(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """The same for several pictures at once; they may differ in size."""
        results = self.model([self._prepare(image) for image in images])
        return [result["instances"].to("cpu") for result in results]

    def _prepare(self, image: np.ndarray) -> dict:
        height, width = image.shape[:2]
        resized = self.resize.get_transform(image).apply_image(image)
        if self.image_format == "BGR":
            resized = resized[:, :, ::-1]
        tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}
