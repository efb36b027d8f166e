"""The official checkpoints: every name, how they were trained, and how weights started."""

import json
from pathlib import Path

import pytest
import torch
from helpers.poseur_oracle import Case, build, official_state, our_names
from torch import Tensor
from torch.testing import assert_close

from posecore.config import get_cfg
from posecore.config.repository import CONFIGS
from posecore.engine.solver import build_optimizer
from poseur.convert_weights import convert
from poseur.flip import unflip
from poseur.score import certainty, probability

# Manifest of an official checkpoint -> our configuration.
CHECKPOINTS = {
    "res50": "official/R_50_256x192.yaml",
    "mobilenetv2": "official/MobileNetV2_256x192.yaml",
    "hrnet_w32": "official/HRNet_W32_256x192.yaml",
    "hrformer_tiny": "official/HRFormer_T_256x192.yaml",
    "mpii_res50": "official/MPII_R_50_256x256.yaml",
}
OPTIMIZERS = {
    "coco/poseur_res50_coco_256x192.py": "official/R_50_256x192.yaml",
    "coco/poseur_hrnet_w32_coco_256x192.py": "official/HRNet_W32_256x192.yaml",
    "coco/poseur_hrformer_tiny_coco_256x192_3dec.py": "official/HRFormer_T_256x192.yaml",
    "coco/poseur_hrformer_big_coco_256x192.py": "official/HRFormer_B_256x192.yaml",
    "mpii/poseur_res50_mpii_256x192.py": "official/MPII_R_50_256x256.yaml",
}


@pytest.fixture(scope="module")
def state(shared: Path) -> dict[str, Tensor]:
    return official_state(shared, "res50", {})


@pytest.mark.parametrize("manifest", CHECKPOINTS)
def test_nothing_is_missing_and_nothing_left_over(shared: Path, manifest: str) -> None:
    model = build(CHECKPOINTS[manifest])
    theirs = official_state(shared, manifest, {})
    model.load_state_dict(convert(theirs))
    dropped = sum(t.numel() for name, t in theirs.items() if name.endswith("relative_position_index"))
    assert (
        sum(t.numel() for t in model.state_dict().values())
        == sum(t.numel() for t in theirs.values()) - dropped
    )


@pytest.mark.parametrize(
    ("name", "manifest"), [("case_hrnet_w32", "hrnet_w32"), ("case_hrformer_tiny", "hrformer_tiny")]
)
def test_other_backbones(shared: Path, name: str, manifest: str) -> None:
    case = Case(shared, name, manifest)
    model = case.model(CHECKPOINTS[manifest]).eval()
    with torch.no_grad():
        maps = list(model.backbone(case.image()).values())
        levels = model.network.neck(maps)
        predictions = model.network(maps).stages
    for level, (backbone, neck) in enumerate(zip(maps, levels, strict=True)):
        case.check_map(f"backbone.{level}", backbone)
        case.check_map(f"neck.{level}", neck)
    coarse, *layers = (prediction[:, 0] for prediction in predictions.values())
    case.check("coarse.mu", coarse.points)
    case.check("coarse.sigma", coarse.scales)
    case.check("layers.mu", torch.stack([layer.points for layer in layers]))
    case.check("layers.sigma", torch.stack([layer.scales for layer in layers]))
    case.check("final.keypoints", layers[-1].points)
    case.check("final.score_official", probability(layers[-1].scales, factor=0.7))
    case.check("final.score_default", certainty(layers[-1].scales))
    twice = unflip(unflip(coarse, model.skeleton.flip_indices), model.skeleton.flip_indices)
    assert_close(twice.points, coarse.points)
    assert_close(twice.scales, coarse.scales)


def test_unknown_names_are_reported(state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"1 tensors have names.*keypoint_head\.deconv\.weight"):
        convert(state | {"keypoint_head.deconv.weight": torch.zeros(1)})


def test_another_model_is_told_apart() -> None:
    with pytest.raises(ValueError, match=r"no official Poseur checkpoint.*'fc\.weight'"):
        convert({"fc.weight": torch.zeros(1)})


@pytest.mark.parametrize("official", OPTIMIZERS)
def test_learning_rates_and_weight_decays(shared: Path, official: str) -> None:
    groups = json.loads((shared / "oracles/poseur/optimizer_groups.json").read_text())[official]["groups"]
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "poseur" / OPTIMIZERS[official]))
    optimizer = build_optimizer(cfg, build(OPTIMIZERS[official]))
    assert isinstance(optimizer, torch.optim.AdamW)
    ours = sorted(
        (group["lr"], group["weight_decay"], len(group["params"])) for group in optimizer.param_groups
    )
    theirs = sorted((group["lr"], group["weight_decay"], group["tensors"]) for group in groups)
    assert [count for *_, count in ours] == [count for *_, count in theirs]
    assert_close(torch.tensor(ours), torch.tensor(theirs))


def test_how_weights_start(shared: Path, state: dict[str, Tensor]) -> None:
    """Mean, deviation and largest value of every tensor of a fresh model, within what chance allows."""
    measured = json.loads((shared / "oracles/poseur/init_statistics.json").read_text())
    model = build("official/R_50_256x192.yaml")
    directions = measured.pop("sampling_offsets.bias values")
    ours = our_names(state)
    parameters = dict(model.named_parameters())
    for theirs, expected in measured.items():
        name = ours[theirs]
        values = parameters[name].detach().double()
        chance = 6 * max(expected["std"], 1e-12) / values.numel() ** 0.5
        assert abs(values.mean().item() - expected["mean"]) <= 2 * chance, name
        if values.numel() > 2:
            assert abs(values.std().item() - expected["std"]) <= 2 * chance, name
        if values.numel() > 1000:
            # Where uniform numbers end is certain; normal ones have no end.
            uniform = expected["absmax"] < 2 * expected["std"]
            assert values.abs().max().item() == pytest.approx(
                expected["absmax"], rel=0.02 if uniform else 0.35
            ), name
    attention = model.network.decoder.layers[0].cross_attention.attention
    for head in (0, 1):
        points = attention.sampling_offsets.bias.view(8, 4, 4, 2)[head, 0]
        assert_close(points, torch.tensor(directions[f"head{head}"]))


def test_what_starts_equal() -> None:
    head = build("official/R_50_256x192.yaml").network.decoder.layers
    first = head[0].head
    for layer in head:
        for name, parameter in layer.head.state_dict().items():
            assert torch.equal(parameter, first.state_dict()[name])
    for one, other in zip(first.references.parameters(), first.offsets.parameters(), strict=True):
        assert torch.equal(one, other)
