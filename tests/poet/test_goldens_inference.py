"""Stage by stage what the official code computes for two images of different sizes."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.poet_oracle import Case
from helpers.set_prediction import check_batching

from poet.transformer import Cells
from posecore.layers.padding import cell_padding


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_a")


@pytest.fixture(scope="module")
def stages(case: Case) -> dict[str, Any]:
    """What the model computes on the way, from the images to the poses."""
    model, batch = case.model(), case.batch()
    seen: dict[str, Any] = {}

    def keep(name: str, index: int | None = None) -> Any:
        def hook(module: torch.nn.Module, inputs: tuple, output: Any) -> None:
            seen[name] = output if index is None else output[index]

        return hook

    def keep_cells(module: torch.nn.Module, inputs: tuple) -> None:
        seen["cells"] = inputs[0]

    model.transformer.register_forward_pre_hook(keep_cells)
    for name, module, index in (
        ("stem", model.backbone.stem, None),
        *((f"layer{i}", getattr(model.backbone, f"res{i + 1}"), None) for i in range(1, 5)),
        ("projection", model.projection, None),
        ("encoder_layer0", model.transformer.encoder[0], 0),
        ("decoder_layer0_prenorm", model.transformer.decoder[0], 0),
        ("decoded", model.transformer, None),
        ("vectors", model.head.regressor, None),
    ):
        module.register_forward_hook(keep(name, index))
    with torch.no_grad():
        images = model.preprocess(batch)
        found = model.find(images, need_weights=True)
        results = [result["instances"] for result in model(batch)]
    return {**seen, "images": images, "found": found, "results": results}


def maps(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, S, D) -> (N, D, H, W)."""
    return values.transpose(1, 2).unflatten(2, size)


def test_batching(case: Case, stages: dict) -> None:
    check_batching(case, stages["images"])


def test_backbone(case: Case, stages: dict) -> None:
    for name, values in {
        "stem_slice": stages["stem"][:, ::4, ::8, ::8],
        "layer1_slice": stages["layer1"][:, ::16, ::8, ::8],
        "layer2_slice": stages["layer2"][:, ::32, ::4, ::4],
        "layer3_slice": stages["layer3"][:, ::32, ::2, ::2],
        "backbone_slice": stages["layer4"][:, ::16],
        "backbone_mean": stages["layer4"].mean(dim=(2, 3)),
        "backbone_std": stages["layer4"].std(dim=(2, 3), correction=0),
    }.items():
        case.check(name, values)


def test_encoder(case: Case, stages: dict) -> None:
    cells, size = stages["cells"], stages["found"].size
    assert [field.name for field in fields(Cells)] == ["values", "positions", "padding", "size"]
    case.check("mask", cell_padding(stages["images"], size))
    case.check("mask", cells.padding.unflatten(1, size))
    case.check("pos", maps(cells.positions, size))
    case.check("input_proj", stages["projection"])
    case.check("encoder_layer0", maps(stages["encoder_layer0"], size)[:, ::8])
    case.check("memory", maps(stages["decoded"].memory, size))


def test_decoder(case: Case, stages: dict) -> None:
    case.check("decoder_layer0_prenorm", stages["decoder_layer0_prenorm"])
    case.check("hs", stages["decoded"].states)


def test_attention_maps(case: Case, stages: dict) -> None:
    case.check("encoder_self_attention", stages["found"].attention.encoder)
    case.check("decoder_cross_attention", stages["found"].attention.decoder)


def test_heads(case: Case, stages: dict) -> None:
    predictions = stages["found"].predictions
    case.check("logits", predictions.logits)
    case.check("kpts_raw", stages["vectors"])
    case.check("kpts", stages["vectors"].sigmoid())
    case.check("centers", predictions.poses.centers)
    case.check("offsets", predictions.poses.offsets)
    case.check("visibilities", predictions.poses.visibility)


def test_poses(case: Case, stages: dict) -> None:
    """Scores, classes (1 here is 0 there) and keypoints, in the queries' order."""
    results = stages["results"]
    case.check("post_scores", torch.stack([result.scores for result in results]))
    case.check("post_labels", 1 - torch.stack([result.pred_classes for result in results]))
    case.check("post_keypoints", torch.stack([result.pred_keypoints for result in results]))
