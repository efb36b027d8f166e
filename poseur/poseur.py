"""The top-down model :class:`Poseur`: crops of persons in, a pose of each out.

Letters: N or M crops, K keypoints, G groups of K queries.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from posecore.config.options import choice
from posecore.layers.precision import full_precision
from posecore.modeling.estimator import CommonParts, PoseEstimator, make_detections
from posecore.modeling.losses import LossTerm, reduce_losses
from posecore.structures.heatmaps import only_labeled
from posecore.structures.oks import oks_nms
from poseur.decoder import Decoder
from poseur.encoder import LearnedQueries
from poseur.flip import (
    FlipFusion,
    ScoredKeypoints,
    agreement_fusion,
    mean_fusion,
    official_power_fusion,
    power_fusion,
    unflip,
)
from poseur.heads import CoarseHead
from poseur.losses import StageLosses, count_crops, count_predictions
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.network import CoarseNetwork, CoarseStart, LearnedStart, Predictions, TransformerNetwork
from poseur.prediction import COARSE, Prediction
from poseur.score import Scores
from poseur.settings import InferenceSettings, TrainingSettings


@META_ARCH_REGISTRY.register()
class Poseur(PoseEstimator):
    """Direct human pose regression with transformers (arXiv 2201.07412).

    The model takes one person at a time: the input of an image holds the crops of its persons.

    * ``crops`` (M, C, h, w), 0-255, in the order of ``cfg.INPUT.FORMAT``, the same h and w in a batch;
    * ``crop_to_image`` (M, 2, 3), affine maps from pixels of the crops to those of the image;
    * ``boxes`` (M, 4) and ``box_scores`` (M,), in the image;
    * ``height`` and ``width`` of the image.

    M may be 0. In training M is 1, and ``instances`` has the person, in pixels of the crop, v = 0 outside of
    it.

    Args:
        in_features: names of the backbone's maps that the network reads, finest first.
        network: from these maps to the predictions of all stages.
        pose_losses: from predictions to losses of keypoints.
        training_settings: turn these into losses of the batch.
        inference_settings: turn predictions into poses.
        common: the parts of every model.
    """

    sigmas: Tensor

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str],
        network: TransformerNetwork | CoarseNetwork,
        pose_losses: StageLosses,
        training_settings: TrainingSettings,
        inference_settings: InferenceSettings,
        common: CommonParts,
    ) -> None:
        super().__init__(common)
        self.in_features = in_features
        self.network = network
        self.pose_losses = pose_losses
        self.training_settings = training_settings
        self.inference_settings = inference_settings
        self.register_buffer("sigmas", torch.tensor(common.skeleton.sigmas), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments, of MODEL.POSEUR and the keys that all models share."""
        node = cfg.MODEL.POSEUR
        common = CommonParts.from_config(cfg)
        num_keypoints = common.skeleton.num_keypoints
        channels = _channels(common.backbone, node.IN_FEATURES)
        network: TransformerNetwork | CoarseNetwork
        if node.NUM_LAYERS == 0:
            network = CoarseNetwork(CoarseHead.from_config(cfg, channels[-1], num_keypoints))
        else:
            starts: dict[str, Callable[[], CoarseStart | LearnedStart]] = {
                "proposals": lambda: CoarseStart.from_config(cfg, channels, num_keypoints),
                "learned": lambda: LearnedStart(LearnedQueries(node.WIDTH, num_keypoints)),
            }
            network = TransformerNetwork(
                neck=ChannelMapper(channels, node.WIDTH),
                start=choice(cfg, "MODEL.POSEUR.START", starts)(),
                positions=PositionedLevels(node.WIDTH, len(channels)),
                decoder=Decoder.from_config(cfg, len(channels)),
            )
        normalizers = {"predictions": count_predictions, "crops": count_crops}
        fusions: dict[str, FlipFusion | None] = {
            "power": power_fusion,
            "power_official": official_power_fusion,
            "mean": mean_fusion,
            "agreement": agreement_fusion,
            "none": None,
        }
        return {
            "in_features": list(node.IN_FEATURES),
            "network": network,
            "pose_losses": StageLosses.from_config(cfg),
            "training_settings": TrainingSettings(
                normalizer=choice(cfg, "MODEL.POSEUR.LOSS_NORMALIZER", normalizers),
                decoder_weight=node.DECODER_WEIGHT,
            ),
            "inference_settings": InferenceSettings(
                scores=Scores.from_config(cfg),
                flip_fusion=choice(cfg, "MODEL.POSEUR.FLIP_FUSION", fusions),
                oks_nms_thresh=node.OKS_NMS_THRESH,
                max_crops_per_pass=node.TEST_CROPS,
            ),
            "common": common,
        }

    def preprocess(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalizes all crops of all images, one after another; they need no padding.

        Raises:
            ValueError: an input has no crops, or crops differ in size.
        """
        if any("crops" not in inputs for inputs in batched_inputs):
            raise ValueError("Poseur takes crops of persons: INPUT.SAMPLES must be 'person_crops'")
        sizes = {tuple(inputs["crops"].shape[2:]) for inputs in batched_inputs}
        if len(sizes) > 1:
            raise ValueError(f"all crops of a batch must have one size, not {sorted(sizes)}")
        crops = torch.cat([inputs["crops"].to(self.device) for inputs in batched_inputs])
        normalized = (crops - self.pixel_mean) / self.pixel_std
        return ImageList(normalized, [(crops.shape[2], crops.shape[3])] * len(crops))

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, Tensor]:
        """loss_coarse and loss_decoder0, loss_decoder1, ..., one for each layer (equation 4).

        Keypoints that are not labeled add nothing to the sum, but count in the normalizer.
        """
        settings = self.training_settings
        keypoints = only_labeled(torch.cat([target.gt_keypoints.tensor for target in targets]))
        labeled = keypoints[:, None, :, 2] > 0  # (N, 1, K)
        height, width = images.tensor.shape[2:]
        points = keypoints[:, None, :, :2] / keypoints.new_tensor([width, height])  # (N, 1, K, 2)
        stages = self.predictions(images.tensor).stages
        with torch.autocast(self.device.type, enabled=False):
            losses = self.pose_losses(stages, points)
        return reduce_losses(
            {
                f"loss_{name}": LossTerm(
                    total=(errors * labeled).sum(),
                    count=settings.normalizer(errors),
                    weight=1.0 if name == COARSE else settings.decoder_weight,
                )
                for name, errors in losses.items()  # (N, G, K)
            }
        )

    def predict(self, images: ImageList) -> list[Instances]:
        """One person per crop, in pixels of the crop. Its box is the whole crop, its score 1."""
        if not len(images.tensor):
            return []
        passes = images.tensor.split(self.inference_settings.max_crops_per_pass)
        results = [self.scored_keypoints(crops) for crops in passes]
        points = torch.cat([result.points for result in results])
        scores = torch.cat([result.scores for result in results])
        height, width = size = images.image_sizes[0]
        keypoints = torch.cat([points * points.new_tensor([width, height]), scores[..., None]], dim=-1)
        whole = points.new_tensor([[0, 0, width, height]])
        return [make_detections(size, Boxes(whole), points.new_ones(1), person[None]) for person in keypoints]

    def postprocess(
        self, results: list[Instances], images: ImageList, batched_inputs: list[dict[str, Any]]
    ) -> list[Instances]:
        """The persons of each image, in its pixels, best first, without duplicates."""
        persons = iter(results)
        return [
            self._in_image([next(persons) for _ in range(len(inputs["crops"]))], inputs)
            for inputs in batched_inputs
        ]

    def predictions(self, crops: Tensor) -> Predictions:
        """Normalized crops (N, C, h, w) -> the predictions of all stages.

        The network behind the backbone is small and computes positions, so it runs in full precision.
        """
        features = self.backbone(crops)
        with torch.autocast(crops.device.type, enabled=False):
            return self.network([full_precision(features[name]) for name in self.in_features])

    def scored_keypoints(self, crops: Tensor) -> ScoredKeypoints:
        """Normalized crops (M, C, h, w) -> keypoints, as shares of the crops' width and height."""
        plain = self._with_scores(self.predictions(crops).result)
        fusion = self.inference_settings.flip_fusion
        if fusion is None:
            return plain
        flipped = unflip(self.predictions(crops.flip(3)).result, self.skeleton.flip_indices)
        return fusion(plain, self._with_scores(flipped))

    def _with_scores(self, prediction: Prediction) -> ScoredKeypoints:
        return ScoredKeypoints(prediction.points, self.inference_settings.scores.keypoint(prediction.scales))

    def _in_image(self, persons: list[Instances], inputs: dict[str, Any]) -> Instances:
        """The detections of an image from the persons of its crops."""
        settings = self.inference_settings
        affine = inputs["crop_to_image"].to(self.device)
        boxes, box_scores = inputs["boxes"].to(self.device), inputs["box_scores"].to(self.device)
        empty = affine.new_zeros(0, self.skeleton.num_keypoints, 3)
        keypoints = torch.cat([empty, *(person.pred_keypoints for person in persons)])
        linear, shift = affine[:, :, :2], affine[:, :, 2]
        points = keypoints[..., :2] @ linear.mT + shift[:, None]
        scores = settings.scores.instance(box_scores, keypoints[..., 2])
        # The area that the crop shows, padding included, stands for the person's area in the OKS.
        areas = torch.linalg.det(linear).abs() * math.prod(inputs["crops"].shape[2:])
        kept = oks_nms(points, scores, areas, self.sigmas, settings.oks_nms_thresh)
        return make_detections(
            (inputs["height"], inputs["width"]),
            Boxes(boxes[kept]),
            scores[kept],
            torch.cat([points, keypoints[..., 2:]], dim=-1)[kept],
        )


def _channels(backbone: Backbone, in_features: Sequence[str]) -> list[int]:
    """The numbers of channels of the backbone's maps that the network reads.

    Raises:
        ValueError: no maps are named, or the backbone lacks one.
    """
    shapes = backbone.output_shape()
    if not in_features or any(name not in shapes for name in in_features):
        raise ValueError(
            f"MODEL.POSEUR.IN_FEATURES must be some of the backbone's maps {tuple(shapes)}, "
            f"not {tuple(in_features)}"
        )
    return [shapes[name].channels for name in in_features]
