"""The exported forms of InsPose: :class:`InsPoseGraph`, and that of the official model.

Letters: N images, S candidates and D detections of each image, K keypoints.
"""

import torch
from torch import Tensor

from inspose.inspose import InsPose
from inspose.official.model import MIN_SCORE, InsPoseOfficial
from posecore.export.fcos import (
    FixedCandidates,
    all_locations,
    clipped,
    fixed_candidates,
    fixed_suppression,
    take_rows,
)
from posecore.export.graph import PREDICTIONS, FixedDetections, ImageGraph, export_graph
from posecore.export.keypoint_network import batched_heatmaps
from posecore.export.suppression import soft_nms_rows
from posecore.modeling.keypoint_network import PeakCells, find_peaks
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.heatmaps import cell_centers


@export_graph(InsPose)
class InsPoseGraph(ImageGraph):
    """InsPose with suppression.

    Where suppression acts on boxes around keypoints, heatmaps are computed for all S candidates (at most
    MODEL.FCOS.TOPK_PER_IMAGE); where the model predicts boxes, for D detections alone.
    """

    model: InsPose
    float_parts = (*PREDICTIONS, "disk_offsets.predictor")

    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        model, settings = self.model, self.model.detector.inference_settings
        features = model.backbone(images)
        predictions = model.detector(features)
        feature = features[model.keypoint_features.level]
        shared = model.keypoint_features(feature)
        offsets = None if model.disk_offsets is None else model.disk_offsets(feature)
        probability = predictions.probability("cls")
        candidates = fixed_candidates(probability, probability, predictions.locations, settings)

        def keypoints_of(selected: FixedCandidates) -> Tensor:
            """(N, S, K, 3) keypoints."""
            networks = model.keypoint_networks.generate(
                predictions.towers["controller"], predictions.locations, selected.locations
            )
            peaks = find_peaks(batched_heatmaps(model.keypoint_networks, shared, networks))
            stride = model.keypoint_networks.heatmap_stride
            points = refined(peaks, offsets, selected, stride)
            keypoints = torch.cat([points, peaks.probability[..., None]], dim=-1)
            return keypoints.unflatten(0, (-1, selected.index.shape[1]))

        if "ltrb" in predictions.maps:
            boxes = predictions.boxes_at(candidates.locations).unflatten(0, (-1, candidates.index.shape[1]))
            boxes = clipped(boxes, sizes)
            rows = fixed_suppression(boxes, candidates, settings)
            kept = candidates.at(rows)
            keypoints = keypoints_of(kept)
        else:
            keypoints = keypoints_of(candidates)
            boxes = clipped(enclosing_boxes(keypoints[..., :2]), sizes)
            rows = fixed_suppression(boxes, candidates, settings)
            kept, keypoints = candidates.at(rows), take_rows(keypoints, rows)
        return FixedDetections(
            boxes=take_rows(boxes, rows),
            scores=kept.scores,
            classes=torch.zeros_like(rows),
            keypoints=keypoints,
            valid=kept.valid,
        )

    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """``probability`` of all locations, the shared map, the offsets, and the tower of the networks."""
        model = self.model
        features = model.backbone(images)
        predictions = model.detector(features)
        feature = features[model.keypoint_features.level]
        outputs = {
            "probability": predictions.probability("cls"),
            "shared": model.keypoint_features(feature),
        }
        if model.disk_offsets is not None:
            outputs["offsets"] = model.disk_offsets(feature)
        if "ltrb" in predictions.maps:
            everywhere = all_locations(outputs["probability"])
            outputs["boxes"] = predictions.boxes_at(everywhere).unflatten(0, outputs["probability"].shape)
        return outputs | controller_towers(predictions.towers["controller"])


@export_graph(InsPoseOfficial)
class InsPoseOfficialGraph(ImageGraph):
    """The official model of InsPose: Soft-NMS in D steps, and heatmaps for the D detections alone."""

    model: InsPoseOfficial
    float_parts = ("head.keypoints", "head.classifier", "trunk.predict_offsets")

    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        model, settings = self.model, self.model.detector.inference_settings
        features = model.backbone(images)
        predictions = model.detector(features)
        feature = features[model.keypoint_features.level]
        probability = predictions.probability("cls")
        candidates = fixed_candidates(probability, probability, predictions.locations, settings)
        selected = candidates.locations
        locations = predictions.locations
        cells = predictions.maps["keypoints"][selected.images, selected.index].unflatten(1, (-1, 2))
        points = locations.points[selected.index][:, None]
        points = points + cells * locations.strides[selected.index][:, None, None]
        points = points.unflatten(0, (-1, candidates.index.shape[1]))  # (N, S, K, 2)
        limits = sizes.flip(1).to(points.dtype)[:, None, None]
        boxes = enclosing_boxes(points.clamp(min=0).minimum(limits))
        rows, scores = soft_nms_rows(
            boxes, candidates.scores, settings.nms_thresh, MIN_SCORE, settings.max_detections
        )
        kept = candidates.at(rows)
        networks = model.keypoint_networks.generate(
            predictions.towers["controller"], locations, kept.locations
        )
        heatmaps = batched_heatmaps(model.keypoint_networks, model.keypoint_features(feature), networks)
        peaks = find_peaks(model.enlarge(heatmaps))
        found = refined(peaks, model.trunk.offsets(feature), kept, model.trunk.stride)
        keypoints = torch.cat([found, torch.ones_like(found[..., :1])], dim=-1)
        return FixedDetections(
            boxes=take_rows(boxes, rows),
            scores=scores,
            classes=torch.zeros_like(rows),
            keypoints=keypoints.unflatten(0, (-1, rows.shape[1])),
            valid=rows >= 0,
        )

    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """``probability`` and ``keypoints`` of all locations, the shared map, the offsets, and the tower."""
        model = self.model
        features = model.backbone(images)
        predictions = model.detector(features)
        feature = features[model.keypoint_features.level]
        return {
            "probability": predictions.probability("cls"),
            "keypoints": predictions.maps["keypoints"],
            "shared": model.keypoint_features(feature),
            "offsets": model.trunk.offsets(feature),
        } | controller_towers(predictions.towers["controller"])


def controller_towers(levels: list[Tensor]) -> dict[str, Tensor]:
    """The tower that networks are generated from, as one output for each level."""
    return {f"controller_tower{level}": tower for level, tower in enumerate(levels)}


def refined(peaks: PeakCells, offsets: Tensor | None, selected: FixedCandidates, stride: int) -> Tensor:
    """(N * S, K, 2) points in pixels, from the cells of peaks and the offsets of these cells.

    Args:
        peaks: of the N * S selected locations.
        offsets: (N, K, 2, H, W) offsets in pixels; None for the centers of cells.
        selected: the selected locations.
        stride: pixels per cell.
    """
    centers = cell_centers(peaks.cells, peaks.width, stride)
    if offsets is None:
        return centers
    images = selected.locations.images[:, None]
    each = torch.arange(peaks.cells.shape[1], device=peaks.cells.device)
    width = offsets.shape[4]
    return centers + offsets[images, each, :, peaks.cells // width, peaks.cells % width]
