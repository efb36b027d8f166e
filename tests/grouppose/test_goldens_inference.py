"""Stage by stage what the official code computes for two images of different sizes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.grouppose_oracle import Case
from helpers.set_prediction import check_batching
from torch import Tensor, nn

from posecore.modeling.set_prediction.proposals import selectable_cells

PERSONS, CHANNELS = [0, 33, 66, 99], slice(None, None, 4)
WIDE, CELLS = slice(None, None, 97), slice(None, None, 29)


def run(case: Case, *overrides: object) -> dict[str, Any]:
    """What the official model computes on the way, from the images to the poses."""
    model, batch = case.model(*overrides), case.batch()
    seen: dict[str, Any] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(
            lambda _, inputs, output: seen.update({name: output, f"{name}/in": inputs})
        )

    backbone = model.backbone
    maps = {"stem": backbone.stem, "res2": backbone.res2}
    maps |= {"c3": backbone.res3, "c4": backbone.res4, "c5": backbone.res5}
    encoder, decoder = model.encoder.layers, model.decoder.layers
    parts = {
        "projection": model.projection,
        "encoder": model.encoder,
        "encoder0": encoder[0],
        "encoder0_attention": encoder[0].attention,
        "selection_norm": model.proposals.norm,
        "selection_classifier": model.proposals.classifier,
        "selection_regressor": model.proposals.regressor,
        "proposals": model.proposals,
        "within0": decoder[0].after_within,
        "across0": decoder[0].after_across,
        "cross0": decoder[0].deformable.attention,
        "after_cross0": decoder[0].deformable.after_attention,
    }
    parts |= {f"decoder{index}": layer for index, layer in enumerate(decoder)}
    for name, module in (maps | parts).items():
        keep(name, module)
    cross = {}
    decoder[1].deformable.attention.register_forward_hook(lambda _, inputs, __: cross.update(inputs=inputs))
    with torch.no_grad():
        images = model.preprocess(batch)
        found = model.find(images)
        results = [result["instances"] for result in model(batch)]
        positions = model.encoder.positions(seen["encoder/in"][1])
        deltas = model.proposals.regressor(model.proposals.norm(model.proposals.project(masked(seen))))
    return {
        **seen,
        "model": model,
        "images": images,
        "found": found,
        "results": results,
        "positions": positions,
        "deltas": deltas,
        "cross1/in": cross["inputs"],
        "maps": list(maps),
    }


def masked(seen: dict[str, Any]) -> Tensor:
    memory = seen["encoder"]
    return memory.values * selectable_cells(memory)[..., None]


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_a")


@pytest.fixture(scope="module")
def stages(case: Case) -> dict[str, Any]:
    return run(case)


def sampled(tokens: Tensor) -> Tensor:
    """(N, Q, T, D) -> the persons and channels that are stored."""
    return tokens[:, PERSONS, :, CHANNELS]


def grouped(tokens: Tensor) -> Tensor:
    """(N, Q * T, D) or (N * Q, T, D) -> (N, Q, T, D)."""
    return tokens.reshape(2, 100, 18, -1)


def test_batching(case: Case, stages: dict) -> None:
    check_batching(case, stages["images"])


def test_backbone(case: Case, stages: dict) -> None:
    steps = {"stem": (4, 8), "res2": (16, 8), "c3": (32, 4), "c4": (32, 2), "c5": (32, 1)}
    for name, (channels, cells) in steps.items():
        values = stages[name]
        case.check(f"{name}_slice", values[:, ::channels, ::cells, ::cells])
        if name.startswith("c"):
            case.check(f"{name}_mean", values.mean(dim=(2, 3)))
            case.check(f"{name}_std", values.std(dim=(2, 3), correction=0))


def test_cells(case: Case, stages: dict) -> None:
    memory = stages["encoder"]
    case.check("level_shapes", torch.tensor(memory.shapes))
    case.check("cell_mask", memory.padding)
    case.check("valid_ratios", memory.shares)
    case.check("position_with_level", stages["positions"][:, WIDE])
    levels = torch.cat(
        [
            vector.expand(height * width, -1)
            for vector, (height, width) in zip(
                stages["model"].encoder.level_embedding, memory.shapes, strict=True
            )
        ]
    )
    case.check("position", (stages["positions"] - levels)[:, WIDE])
    for level, values in enumerate(stages["projection"]):
        case.check(f"projected_mean_l{level}", values.mean(dim=(2, 3)))
    projected = torch.cat([values.flatten(2) for values in stages["projection"]], dim=2)
    case.check("projected", projected.transpose(1, 2)[:, WIDE])


def test_encoder(case: Case, stages: dict) -> None:
    memory = stages["encoder"]
    case.check("encoder_reference", memory.references(memory.centers)[:, WIDE, :, 0])
    case.check("encoder_layer0_attention", stages["encoder0_attention"][:, WIDE])
    case.check("encoder_layer0", stages["encoder0"][:, WIDE])
    case.check("memory", memory.values[:, CELLS])


def test_proposals(case: Case, stages: dict) -> None:
    memory, proposals = stages["encoder"], stages["proposals"]
    selectable = selectable_cells(memory)
    case.check("cell_may_propose", selectable)
    # Cells that may not propose are at 1 there.
    case.check("cell_centers", memory.centers.where(selectable[..., None], 1.0))
    case.check("selection_features", stages["selection_norm"][:, CELLS])
    case.check("selection_logits", stages["selection_classifier"])
    case.check("selection_deltas", stages["deltas"][:, CELLS])
    case.check("selected", proposals.cells)
    case.check("selected_logits", proposals.logits)
    case.check("proposals", stages["decoder0/in"][2])
    torch.testing.assert_close(proposals.keypoints, stages["decoder0/in"][2][:, :, 1:])


def check_decoder(case: Case, stages: dict) -> None:
    """What the case of the official model and that of the altered one have both."""
    for layer in (0, 5):
        positions = stages[f"decoder{layer}/in"][1]
        assert not positions[:, :, 0].any()
        case.check(f"query_position_layer{layer}", sampled(positions[:, :, 1:]))
        case.check(f"layer{layer}_output", sampled(stages[f"decoder{layer}"]))
    case.check("layer0_within", sampled(grouped(stages["within0"])))
    case.check("layer0_across", sampled(stages["across0"]))
    case.check("layer0_after_cross", sampled(grouped(stages["after_cross0"])))
    predictions = stages["found"].predictions
    last = predictions.poses.keypoints[-1]
    points = [stages[f"decoder{layer}/in"][2] for layer in range(6)]
    points.append(torch.cat([last.mean(dim=2, keepdim=True), last], dim=2))
    case.check("references", torch.stack(points))
    case.check("logits", predictions.logits)


def test_decoder(case: Case, stages: dict) -> None:
    check_decoder(case, stages)
    case.check("queries", sampled(stages["decoder0/in"][0]))
    case.check("layer0_cross", sampled(grouped(stages["cross0"])))
    references = stages["cross1/in"][1][:, :, :, 0].unflatten(1, (100, 18))
    case.check("decoder_reference_layer1", references[:, PERSONS])
    for layer in range(1, 5):
        case.check(f"layer{layer}_output", sampled(stages[f"decoder{layer}"]))
    stored = stages["decoder0"] + stages["decoder1/in"][1]
    case.check("layer0_output_as_stored", sampled(stored))
    case.check("poses", stages["found"].predictions.poses.keypoints)


def test_poses(case: Case, stages: dict) -> None:
    """Scores, categories (class 0 here is 1 there) and keypoints, the best fifty."""
    results = stages["results"]
    case.check("post_scores", torch.stack([result.scores for result in results]))
    case.check("post_labels", 1 - torch.stack([result.pred_classes for result in results]))
    case.check("post_keypoints", torch.stack([result.pred_keypoints for result in results]))


def test_positions_that_are_not_part_of_the_tokens(shared: Path) -> None:
    """The default of new models, which differs from the official code in this alone."""
    case = Case(shared, "case_decoder_clean", "case_a")
    stages = run(case, "MODEL.GROUPPOSE.QUERY_POSITIONS", "added")
    check_decoder(case, stages)
    results = stages["results"]
    case.check("post_scores", torch.stack([result.scores for result in results]))
    case.check("post_labels", 1 - torch.stack([result.pred_classes for result in results]))
