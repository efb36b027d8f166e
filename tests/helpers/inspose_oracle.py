"""Stored numbers of the official code, and our models, small or with the weights of the stored numbers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances, Keypoints
from torch import Tensor, nn

from helpers import configs
from helpers.configs import SMALL_FCOS, override_list
from helpers.oracles import arrays, load_fill
from inspose import InsPoseOfficial
from inspose.convert_weights import convert

OFFICIAL = "official/R_50_3x.yaml"
TINY = override_list(
    {
        **SMALL_FCOS,
        "MODEL.INSPOSE.CONVS_DIM": 16,
        "MODEL.INSPOSE.NUM_CONVS": 1,
        "MODEL.INSPOSE.DISK_CHANNELS": 16,
        "MODEL.INSPOSE.HEATMAP_CHANNELS": 16,
        "MODEL.INSPOSE.OFFICIAL.KEYPOINT_CHANNELS": 32,
        "MODEL.INSPOSE.OFFICIAL.TRUNK_CHANNELS": 16,
    }
)


def load(config: str, *overrides: Any) -> CfgNode:
    """A configuration under configs/inspose, for the CPU and without weights."""
    return configs.load_cfg(f"inspose/{config}", *overrides)


def official_cfg(*overrides: Any) -> CfgNode:
    """The configuration of the official model."""
    return load(OFFICIAL, *overrides)


def build(config: str, *overrides: Any) -> nn.Module:
    """The model of a configuration under configs/inspose, without weights."""
    return build_model(load(config, *overrides))


def tiny(*overrides: Any, config: str = "R_50_36ep.yaml") -> nn.Module:
    """An InsPose that is small enough for fast training steps."""
    return build(config, *TINY, *overrides)


def official_state(shared: Path) -> dict[str, Tensor]:
    """An official state dict with made-up values."""
    fill = load_fill(shared)
    entries = json.loads((shared / "oracles/inspose/manifest.json").read_text())["state_dict"]
    return {
        entry["name"]: torch.from_numpy(fill.parameter(entry["name"], entry["shape"], entry["dtype"]))
        for entry in entries
    }


def official_model(shared: Path) -> InsPoseOfficial:
    """Our model with the weights of :func:`official_state`, for images that are already normalized."""
    model = build(OFFICIAL, "MODEL.PIXEL_MEAN", [0.0] * 3, "MODEL.PIXEL_STD", [1.0] * 3)
    model.load_state_dict(convert(official_state(shared)))
    return model


class Case:
    """The stored numbers of one case.

    Args:
        shared: the folder of shared data.
        name: name of the case.
        file: name of the file of its numbers.
    """

    def __init__(self, shared: Path, name: str, file: str) -> None:
        self.folder = shared / "oracles" / "inspose" / name
        self.fill = load_fill(shared)
        self.facts = json.loads((self.folder / "case.json").read_text())
        self.golden = arrays(self.folder / file)

    def normal(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> Tensor:
        return torch.from_numpy(self.fill.normal(name, shape, scale))

    def check(self, name: str, actual: Tensor, *, atol: float = 0.0, rtol: float = 0.0) -> None:
        """Compares with a stored array, exactly if no tolerance is given."""
        expected = self.golden[name]
        assert actual.shape == expected.shape, name
        torch.testing.assert_close(
            actual.detach().to(expected.dtype),
            expected,
            atol=atol,
            rtol=rtol,
            msg=lambda text: f"{name}: {text}",
        )


def count_networks(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list to which every later call of ``generate`` appends the number of generated networks."""
    counts = []
    generate = model.keypoint_networks.generate

    def counted(maps: list, locations: object, selected: object) -> object:
        counts.append(len(selected))
        return generate(maps, locations, selected)

    monkeypatch.setattr(model.keypoint_networks, "generate", counted)
    return counts


def people(folder: Path, kind: str, image: int, size: tuple[int, int]) -> Instances:
    """The persons of one image of the stored training case."""
    values = arrays(folder / "inputs.npz")
    boxes = values[f"{kind}.img{image}.boxes_xyxy"]
    return Instances(
        size,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.zeros(len(boxes), dtype=torch.int64),
        gt_keypoints=Keypoints(values[f"{kind}.img{image}.keypoints"]),
        gt_areas=values[f"{kind}.img{image}.mask_area"],
    )
