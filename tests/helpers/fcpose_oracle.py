"""Stored numbers of the official code, and our model with the weights for which they were computed."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fcpose import FCPose
from fcpose.convert_weights import convert
from helpers.configs import SMALL_FCOS, MethodModels
from helpers.oracles import arrays, load_fill

_MODELS = MethodModels(
    "fcpose",
    "R_50_1x.yaml",
    {
        **SMALL_FCOS,
        "MODEL.FCPOSE.CONVS_DIM": 16,
        "MODEL.FCPOSE.NUM_CONVS": 1,
        "MODEL.FCPOSE.CHANNELS": 8,
        "MODEL.FCPOSE.WIDTH": 8,
    },
)
build, tiny = _MODELS.build, _MODELS.tiny


def official_state(shared: Path, case: dict) -> dict[str, Tensor]:
    """An official state dict with the values of a case."""
    fill = load_fill(shared)
    state = {}
    for entry in json.loads((shared / "oracles/fcpose/manifest.json").read_text())["entries"]:
        if entry.get("keep"):
            state[entry["name"]] = torch.tensor(entry["value"], dtype=getattr(torch, entry["dtype"]))
        else:
            state[entry["name"]] = torch.from_numpy(fill.parameter(entry["name"], entry["shape"]))
    for change in case["parameter_overrides"]:
        tensor, value = state[change["name"]], change["value"]
        state[change["name"]] = tensor * value if change["op"] == "mul" else torch.full_like(tensor, value)
    return state


class Case:
    """The stored numbers of one case.

    Args:
        shared: the folder of shared data.
        name: name of the case.
        stage: "outputs" or "train_outputs".
    """

    def __init__(self, shared: Path, name: str, stage: str = "outputs") -> None:
        folder = shared / "oracles" / "fcpose" / name
        self.fill = load_fill(shared)
        self.facts = json.loads((folder / "case.json").read_text())
        self.inputs = arrays(folder / "inputs.npz")
        self.state = official_state(shared, self.facts)
        self.golden, self.about = arrays(folder / f"{stage}.npz"), self.facts[stage]

    def uniform(self, name: str, shape: tuple[int, ...], *limits: float) -> Tensor:
        return torch.from_numpy(self.fill.uniform(name, shape, *limits))

    def normal(self, name: str, shape: tuple[int, ...], *scale: float) -> Tensor:
        return torch.from_numpy(self.fill.normal(name, shape, *scale))

    def model(self) -> FCPose:
        """The model of the official configuration with the weights of the case."""
        model = build("official/R_50_3x.yaml")
        model.load_state_dict(convert(self.state))
        return model

    def check(self, name: str, actual: Tensor, where: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Compares with a stored array at its tolerance for float32; ``where`` selects the compared part."""
        expected = self.golden[name]
        assert actual.shape == expected.shape, name
        actual, expected = where(actual.detach()), where(expected)
        if "atol_f32" in self.about[name]:
            worst = (actual - expected).abs().max().item()
            assert worst <= self.about[name]["atol_f32"], f"{name}: {worst}"
        else:
            assert torch.equal(actual, expected.to(actual.dtype)), name
