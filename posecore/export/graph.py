"""What is exported of a model, a function of tensors alone: :class:`ExportGraph`.

A method registers the graph of its model with :func:`export_graph`. An :class:`ImageGraph` takes padded
images with their sizes, a :class:`CropGraph` crops of persons with the scores of their boxes. Each computes
either final poses, a fixed number for each image and a mask that says which of them exist, or raw
predictions.

Letters: N images or crops, D detections of each image, K keypoints, H and W height and width of the batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.merge import UsageError
from posecore.modeling.estimator import PoseEstimator

Outputs = Literal["poses", "raw"]
OUTPUTS: dict[str, Outputs] = {"poses": "poses", "raw": "raw"}

# Height and width, in multiples of the divisibility, of the images that graphs are traced with. No map may
# have a side of 1 then, or the exported model would have it for all images.
TRACED_SIDES = (8, 10)
TRACED_LEAST = 256


# The predictions of FCOS's head, for ``float_parts``.
PREDICTIONS = ("detector.head.predictions",)


@dataclass(frozen=True)
class FixedDetections:
    """D detections of each of N images, in pixels of the batch, best first.

    Attributes:
        boxes: (N, D, 4) corners.
        scores: (N, D).
        classes: (N, D) int64, 0 for a person.
        keypoints: (N, D, K, 3), x, y and confidence.
        valid: (N, D) bool, whether the detection exists.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    keypoints: Tensor
    valid: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """The outputs by name; what does not exist is zero."""
        present = self.valid[..., None]
        return {
            "boxes": self.boxes.where(present, 0),
            "scores": self.scores.where(self.valid, 0),
            "classes": self.classes,
            "keypoints": self.keypoints.where(present[..., None], 0),
            "valid": self.valid,
        }


class ExportGraph(nn.Module, ABC):
    """A model as a function of tensors that can be exported.

    Args:
        model: in evaluation mode, on the CPU, in float32.
        outputs: whether the graph computes final poses or raw predictions.

    Attributes:
        float_parts: parts of the names of convolutions that stay in float32 in an int8 model, because
            positions and scores are read from them.
    """

    input_names: tuple[str, ...]
    float_parts: tuple[str, ...] = ()

    def __init__(self, model: Any, outputs: Outputs = "poses") -> None:
        super().__init__()
        self.model = model.eval()
        self.outputs = outputs

    @classmethod
    @abstractmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module, outputs: Outputs) -> "ExportGraph":
        """The graph of a configuration's model."""

    @abstractmethod
    def input_description(self, cfg: CfgNode) -> dict[str, Any]:
        """How a runtime prepares inputs: ``kind``, and the fields of ``ImageInput`` or ``CropInput``."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Inputs that the graph is traced with."""

    @abstractmethod
    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """The dimensions of each input that any number may be given for, as ``torch.export`` takes them."""

    @abstractmethod
    def compute(self, *inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.compute(*inputs).values())


class ImageGraph(ExportGraph):
    """The graph of a model that reads whole images.

    Its inputs are ``images`` (N, 3, H, W) uint8, padded at the right and bottom to a common height and width
    that :attr:`divisibility` divides, in the order of ``cfg.INPUT.FORMAT``, and ``sizes`` (N, 2) int64,
    height and width of each image without padding.
    """

    input_names = ("images", "sizes")

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module, outputs: Outputs) -> "ImageGraph":
        return cls(model, outputs)

    def input_description(self, cfg: CfgNode) -> dict[str, Any]:
        return {
            "kind": "images",
            "min_size": cfg.INPUT.MIN_SIZE_TEST,
            "max_size": cfg.INPUT.MAX_SIZE_TEST,
            "rounding": cfg.INPUT.RESIZE_ROUNDING,
            "channels": cfg.INPUT.FORMAT,
            "divisibility": self.divisibility,
            "shift": self.model.shift,
        }

    @property
    def divisibility(self) -> int:
        """The number that height and width of a batch are multiples of."""
        return max(int(self.model.backbone.size_divisibility), 1)

    def example(self) -> tuple[Tensor, ...]:
        unit = self._unit()
        height, width = (sides * unit for sides in TRACED_SIDES)
        images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
        return images, torch.tensor([[height, width], [height - unit // 2, width - unit // 4]])

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        unit = self._unit()
        count = torch.export.Dim("count", min=1, max=4096)
        height, width = (
            unit * torch.export.Dim(name, min=1, max=8192 // unit) for name in ("rows", "columns")
        )
        return {0: count, 2: height, 3: width}, {0: count}

    def compute(self, *inputs: Tensor) -> dict[str, Tensor]:
        images, sizes = inputs
        padding = self.padding(sizes, size := (images.shape[2], images.shape[3]), size)
        normalized = (images.float() - self.model.pixel_mean) / self.model.pixel_std
        normalized = normalized.masked_fill(padding[:, None], 0)  # as the model pads normalized images
        if self.outputs == "raw":
            return self.raw(normalized, sizes)
        return self.detections(normalized, sizes).tensors()

    @abstractmethod
    def detections(self, images: Tensor, sizes: Tensor) -> FixedDetections:
        """The poses of normalized images (N, 3, H, W) whose (height, width) are ``sizes`` (N, 2)."""

    @abstractmethod
    def raw(self, images: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """The predictions of the network by name, before candidates are selected."""

    @staticmethod
    def padding(sizes: Tensor, padded: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """(N, H, W) bool, True where a cell is padding, as :func:`posecore.layers.padding.cell_padding`.

        Args:
            sizes: (N, 2) height and width of the images, pixels.
            padded: height and width of the batch, pixels.
            size: (H, W) of the map.
        """
        # In whole numbers and without a division, which would be one of floating point in the exported model,
        # and wrong in a runtime that computes in half precision.
        rows, columns = (
            torch.arange(cells, device=sizes.device) * side >= sizes[:, axis, None] * cells
            for axis, (side, cells) in enumerate(zip(padded, size, strict=True))
        )
        return rows[:, :, None] | columns[:, None]

    def _unit(self) -> int:
        """A multiple of the divisibility with which no map of the traced images has a side of 1."""
        unit = self.divisibility
        while unit * TRACED_SIDES[0] < TRACED_LEAST:
            unit *= 2
        return unit


class CropGraph(ExportGraph):
    """The graph of a model that reads crops of persons of one size.

    Its inputs are ``crops`` (N, 3, h, w) uint8, in the order of ``cfg.INPUT.FORMAT``, and ``box_scores`` (N,)
    float32, the scores of the boxes that they were cut around. Its poses are ``keypoints`` (N, K, 3), in
    pixels of the crop, and ``scores`` (N,).

    Args:
        model, outputs: see :class:`ExportGraph`.
        size: height and width of a crop, pixels.
    """

    input_names = ("crops", "box_scores")

    def __init__(self, model: Any, outputs: Outputs = "poses", *, size: tuple[int, int]) -> None:
        super().__init__(model, outputs)
        self.size = size

    def example(self) -> tuple[Tensor, ...]:
        return torch.randint(0, 256, (2, 3, *self.size), dtype=torch.uint8), torch.ones(2)

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        count = torch.export.Dim("count", min=1, max=4096)
        return {0: count}, {0: count}

    def compute(self, *inputs: Tensor) -> dict[str, Tensor]:
        crops, box_scores = inputs
        normalized = (crops.float() - self.model.pixel_mean) / self.model.pixel_std
        compute = self.raw if self.outputs == "raw" else self.poses
        return compute(normalized, box_scores)

    @abstractmethod
    def poses(self, crops: Tensor, box_scores: Tensor) -> dict[str, Tensor]:
        """``keypoints`` and ``scores`` of normalized crops (N, 3, h, w) with box scores (N,)."""

    @abstractmethod
    def raw(self, crops: Tensor, box_scores: Tensor) -> dict[str, Tensor]:
        """The predictions of the network by name."""


GRAPHS: dict[type[PoseEstimator], type[ExportGraph]] = {}
Graph = TypeVar("Graph", bound=type[ExportGraph])


def export_graph(model: type[PoseEstimator]) -> Callable[[Graph], Graph]:
    """A decorator that registers a class as the graph of the models of a class."""

    def register(graph: Graph) -> Graph:
        GRAPHS[model] = graph
        return graph

    return register


def graph_class(model: nn.Module) -> type[ExportGraph]:
    """The graph of a model.

    Raises:
        UsageError: the model has none.
    """
    for model_class, graph in GRAPHS.items():
        if type(model) is model_class:
            return graph
    known = ", ".join(sorted(model_class.__name__ for model_class in GRAPHS))
    raise UsageError(
        f"{type(model).__name__} cannot be exported: MODEL.META_ARCHITECTURE must be one of {known}"
    )
