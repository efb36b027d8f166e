"""Stored numbers of the official code, and our model with the weights for which they were computed."""

import json
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances, Keypoints
from torch import Tensor

from grouppose import GroupPose
from grouppose.convert_weights import convert
from helpers.configs import SMALL_RESNET, MethodModels, small_transformer
from helpers.oracles import arrays, check, fill_parameters, load_fill

_MODELS = MethodModels(
    "grouppose",
    "R_50.yaml",
    {
        **SMALL_RESNET,
        **small_transformer("MODEL.GROUPPOSE"),
        "MODEL.GROUPPOSE.POINTS": 2,
    },
)
build, tiny = _MODELS.build, _MODELS.tiny


def manifest(shared: Path) -> dict:
    """The names of an official checkpoint, and what it says of them."""
    return json.loads((shared / "oracles/grouppose/manifest_r50.json").read_text())


class Case:
    """The stored numbers of one case of the whole model.

    Args:
        shared: the folder of shared data.
        name: name of the case.
        weights: name of the case whose weights and inputs these are.
    """

    def __init__(self, shared: Path, name: str, weights: str | None = None) -> None:
        folder = shared / "oracles/grouppose"
        self.fill = load_fill(shared)
        self.facts = json.loads((folder / name / "case.json").read_text())
        self.golden = arrays(folder / name / "outputs.npz")
        self.given = json.loads((folder / (weights or name) / "case.json").read_text())
        rules = self.given["parameters"]["gains"]
        self.state = fill_parameters(self.fill, manifest(shared)["entries"], rules)

    def model(self, *overrides: object) -> GroupPose:
        """The official model with the weights of the case, for images that are already normalized."""
        unchanged = ("MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0])
        model = build("official/R_50.yaml", *unchanged, *overrides)
        model.load_state_dict(convert(self.state))
        return model.eval()

    def batch(self) -> list[dict]:
        """The images, and the sizes of the original images where the case has them."""
        batch = [
            {"image": torch.from_numpy(self.fill.normal(entry["name"], entry["shape"]))}
            for entry in self.given["inputs"]
        ]
        sizes = self.given.get("postprocess_target_sizes_h_w", [])
        for inputs, (height, width) in zip(batch, sizes, strict=False):
            inputs |= {"height": height, "width": width}
        return batch

    def check(self, name: str, actual: Tensor) -> None:
        """Compares with a stored array at its tolerance."""
        check(self.facts, self.golden, name, actual)


def people(keypoints: Tensor, boxes: Tensor, areas: Tensor, size: tuple[int, int]) -> Instances:
    """Persons in an image of (height, width): (P, K, 3) keypoints, (P, 4) boxes and (P,) areas in pixels."""
    return Instances(
        size,
        gt_boxes=Boxes(boxes.float()),
        gt_classes=torch.zeros(len(keypoints), dtype=torch.int64),
        gt_keypoints=Keypoints(keypoints.float()),
        gt_areas=areas.float(),
    )
