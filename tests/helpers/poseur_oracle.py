"""Stored numbers of the official code, and our model with the weights for which they were computed."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.testing import assert_close

from helpers.configs import SMALL_RESNET, MethodModels
from helpers.oracles import arrays, load_fill
from poseur import Poseur
from poseur.convert_weights import convert

# Relative rounding error of float32 after the sums of a whole network.
ROUNDING = 1e-6


_MODELS = MethodModels(
    "poseur",
    "R_50_256x192.yaml",
    {
        **SMALL_RESNET,
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.POSEUR.WIDTH": 64,
        "MODEL.POSEUR.FEED_FORWARD": 64,
        "MODEL.POSEUR.NUM_LAYERS": 2,
    },
)
build, tiny = _MODELS.build, _MODELS.tiny


def official_state(shared: Path, manifest: str, changes: dict) -> dict[str, Tensor]:
    """An official state dict with the values of a case.

    Args:
        shared: the folder of shared data.
        manifest: name of the manifest, "res50" for ``manifest_res50.json``.
        changes: name -> {"scale", "shift"}.
    """
    fill = load_fill(shared)
    rows = json.loads((shared / f"oracles/poseur/manifest_{manifest}.json").read_text())["state"]
    state = {}
    for row in rows:
        if row.get("keep"):
            value = torch.tensor(row["value"]) if "value" in row else torch.zeros(row["shape"])
            state[row["name"]] = value.to(getattr(torch, row["dtype"]))
        else:
            state[row["name"]] = torch.from_numpy(fill.parameter(row["name"], row["shape"], row["dtype"]))
    for name, change in changes.items():
        state[name] = state[name] * change["scale"] + change["shift"]
    return state


def our_names(state: dict[str, Tensor]) -> dict[str, str]:
    """Official name -> our name, found by converting tensors that are filled with their index."""
    names = list(state)
    numbered = {name: torch.full(state[name].shape, float(i)) for i, name in enumerate(names)}
    return {names[int(tensor.flatten()[0])]: ours for ours, tensor in convert(numbered).items()}


class Case:
    """The stored numbers of one case.

    Args:
        shared: the folder of shared data.
        name: name of the case.
        manifest: name of the manifest of the official model.
    """

    def __init__(self, shared: Path, name: str, manifest: str = "res50") -> None:
        folder = shared / "oracles" / "poseur" / name
        self.shared = shared
        self.manifest = manifest
        self.fill = load_fill(shared)
        self.facts = json.loads((folder / "case.json").read_text())
        self.golden = arrays(folder / "outputs.npz")

    @cached_property
    def state(self) -> dict[str, Tensor]:
        return official_state(self.shared, self.manifest, self.facts.get("overrides", {}))

    def uniform(self, name: str, shape: tuple[int, ...], *limits: float) -> Tensor:
        return torch.from_numpy(self.fill.uniform(name, shape, *limits))

    def normal(self, name: str, shape: tuple[int, ...], *scale: float) -> Tensor:
        return torch.from_numpy(self.fill.normal(name, shape, *scale))

    def image(self) -> Tensor:
        """Two crops that are already normalized."""
        return self.normal(self.facts["image"]["name"], tuple(self.facts["image"]["shape"]))

    def model(self, config: str, *overrides: object) -> Poseur:
        model = build(config, "MODEL.PIXEL_MEAN", [0.0] * 3, "MODEL.PIXEL_STD", [1.0] * 3, *overrides)
        model.load_state_dict(convert(self.state))
        return model

    def check(self, name: str, actual: Tensor) -> None:
        """Compares with a stored array at its tolerance, or at the rounding error of its largest value."""
        expected = self.golden[name]
        assert actual.shape == expected.shape, name
        atol = max(self.facts["arrays"][name].get("atol", 0), ROUNDING * expected.abs().max().item())
        assert_close(
            actual.detach().to(expected.dtype), expected, rtol=2e-5, atol=atol, msg=lambda m: f"{name}: {m}"
        )

    def check_map(self, name: str, actual: Tensor) -> None:
        """Compares the stored statistics and parts of a map (N, C, H, W)."""
        height, width = actual.shape[2:]
        self.check(f"{name}.mean", actual.mean(dim=(2, 3)))
        self.check(f"{name}.std", actual.std(dim=(2, 3), correction=0))
        self.check(f"{name}.corner", actual[:, :8, :3, :3])
        rows, columns = slice(height // 2, height // 2 + 2), slice(width // 2, width // 2 + 2)
        self.check(f"{name}.centre", actual[:, :8, rows, columns])


def permutation(case: Case, name: str, count: int) -> Tensor:
    """The permutation that replaces ``torch.randperm`` in a case."""
    values = case.fill.uniform(name, (count,))
    return torch.from_numpy(np.argsort(values, kind="stable"))
