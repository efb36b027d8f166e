"""Stored numbers of the official code, and our model with the weights for which they were computed."""

import json
from pathlib import Path

import torch
from detectron2.structures import Boxes, Instances, Keypoints
from torch import Tensor

from helpers.configs import SMALL_RESNET, MethodModels, override_list, small_transformer
from helpers.oracles import arrays, check, fill_parameters, load_fill
from poet import POET
from poet.codec import PoseCodec
from poet.convert_weights import convert
from posecore.modeling.set_prediction.poses import Poses
from posecore.modeling.set_prediction.predictions import Predictions

_MODELS = MethodModels(
    "poet",
    "R_50.yaml",
    {
        **SMALL_RESNET,
        **small_transformer("MODEL.POET"),
    },
)
build, tiny = _MODELS.build, _MODELS.tiny
# KEY, VALUE, ... of a small POET.
SMALL = override_list(_MODELS.small)


def official_state(shared: Path, case: dict, manifest: str = "manifest_r50.json") -> dict[str, Tensor]:
    """An official state dict with the values of a case."""
    entries = json.loads((shared / "oracles/poet" / manifest).read_text())["entries"]
    return fill_parameters(load_fill(shared), entries, case["parameters"]["gains"])


class Case:
    """The stored numbers of one case of the whole model.

    Args:
        shared: the folder of shared data.
        name: name of the case.
        manifest: name of the manifest of the official state dict.
    """

    def __init__(self, shared: Path, name: str, manifest: str = "manifest_r50.json") -> None:
        folder = shared / "oracles" / "poet" / name
        self.fill = load_fill(shared)
        self.facts = json.loads((folder / "case.json").read_text())
        self.golden = arrays(folder / "outputs.npz")
        self.state = official_state(shared, self.facts, manifest)

    def model(self, config: str = "official/R_50.yaml") -> POET:
        """The model with the weights of the case, for images that are already normalized."""
        unchanged = ("MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], "MODEL.PIXEL_STD", [1.0, 1.0, 1.0])
        queries = ("MODEL.POET.NUM_QUERIES", self.facts["num_queries"])
        model = build(config, *unchanged, *queries)
        model.load_state_dict(convert(self.state))
        return model.eval()

    def batch(self) -> list[dict]:
        """The images, and the sizes of the original images."""
        return [
            {
                "image": torch.from_numpy(self.fill.normal(entry["name"], entry["shape"])),
                "height": height,
                "width": width,
            }
            for entry, (height, width) in zip(
                self.facts["inputs"], self.facts["postprocess_target_sizes_h_w"], strict=True
            )
        ]

    def check(self, name: str, actual: Tensor) -> None:
        """Compares with a stored array at its tolerance."""
        check(self.facts, self.golden, name, actual)


def predictions_of(logits: Tensor, vectors: Tensor) -> Predictions[Poses]:
    """Predictions of logits (L, N, Q, 3) and vectors (L, N, Q, 2 + 3K), as the model makes them."""
    codec = PoseCodec((vectors.shape[-1] - 2) // 3)
    return Predictions(logits, codec.split(vectors))


def people(annotations: Tensor, size: tuple[int, int]) -> Instances:
    """Persons of (P, K, 3) keypoints in pixels of an image of (height, width); boxes are the whole image."""
    count = len(annotations)
    return Instances(
        size,
        gt_boxes=Boxes(torch.tensor([0.0, 0.0, size[1], size[0]]).repeat(count, 1)),
        gt_classes=torch.zeros(count, dtype=torch.int64),
        gt_keypoints=Keypoints(annotations.float()),
    )
