"""Stage by stage what the official code computes for two crops."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.configs import override_list
from helpers.poseur_oracle import Case
from torch import Tensor, nn

from posecore.layers.position import encode_points
from poseur.flip import unflip
from poseur.memory import positions
from poseur.prediction import Prediction
from poseur.score import certainty, probability

CONFIG = "official/R_50_256x192.yaml"


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_a")


@pytest.fixture(scope="module")
def stages(case: Case) -> dict[str, Any]:
    """What the model computes on the way."""
    model = case.model(CONFIG).eval()
    network = model.network
    recorded: dict[str, list[Tensor]] = {}
    for layer in network.decoder.layers:
        for name, module in layer.named_modules():
            module.register_forward_hook(record(recorded, name))
    with torch.no_grad():
        crops = case.image()
        features = model.backbone(crops)
        maps = [features[name] for name in model.in_features]
        levels = network.neck(maps)
        start = network.start(maps, levels)
        memory = network.positions(levels)
        predictions = network.decoder(start.queries, memory)
        plain, flipped = predictions[-1], model.predictions(crops.flip(3)).result
    return locals()


def record(recorded: dict[str, list[Tensor]], name: str) -> Any:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        recorded.setdefault(name, []).append(output)

    return hook


def test_maps(case: Case, stages: dict[str, Any]) -> None:
    for level, (backbone, neck) in enumerate(zip(stages["maps"], stages["levels"], strict=True)):
        case.check_map(f"backbone.{level}", backbone)
        case.check_map(f"neck.{level}", neck)


def test_memory(case: Case, stages: dict[str, Any]) -> None:
    memory = stages["memory"]
    cells = [height * width for height, width in memory.shapes]
    for level, values in enumerate(memory.values.split(cells, dim=1)):
        case.check_map(f"memory.{level}", values.transpose(1, 2).unflatten(2, memory.shapes[level]))
    case.check("sine2d.last", positions(stages["levels"][-1])[0])
    case.check("sine2d.first_far", positions(stages["levels"][0])[0, :, -1, -1])


def test_proposals(case: Case, stages: dict[str, Any]) -> None:
    coarse = stages["start"].stages["coarse"][:, 0]
    case.check("coarse.pooled", stages["levels"][-1].mean(dim=(2, 3)))
    case.check("coarse.mu", coarse.points)
    case.check("coarse.sigma", coarse.scales)
    case.check("coarse.score", certainty(coarse.scales)[..., None])


def test_queries(case: Case, stages: dict[str, Any]) -> None:
    queries = stages["start"].queries
    points = queries.references[:, 0]
    case.check("query.sine_raw", encode_points(points, 256))
    case.check("query.sine_clipped", encode_points(points.clamp(0, 1), 256))
    case.check("query.initial", queries.values[:, 0])
    case.check("query.pos", queries.identity.expand(2, -1, -1))
    case.check("reference.input0", points)


def test_first_layer(case: Case, stages: dict[str, Any]) -> None:
    first = {name: outputs[0] for name, outputs in stages["recorded"].items()}
    queries = stages["start"].queries
    attended = first["self_attention.attention"][0].view_as(queries.values)
    case.check("layer0.self_attn", (queries.values + attended)[:, 0])
    case.check("layer0.norm0", first["self_attention"][:, 0])
    case.check("layer0.offsets", first["cross_attention.attention.sampling_offsets"])
    case.check("layer0.weights", first["cross_attention.attention.attention_weights"])
    seen = first["cross_attention.attention"]
    case.check("layer0.cross_attn", first["self_attention"][:, 0] + seen)
    case.check("layer0.norm1", first["cross_attention"][:, 0])
    case.check("layer0.ffn", (first["cross_attention"] + first["feed_forward.layers"])[:, 0])
    case.check("layer0.norm2", first["feed_forward"][:, 0])


def test_every_layer(case: Case, stages: dict[str, Any]) -> None:
    recorded, predictions = stages["recorded"], stages["predictions"]
    references = torch.stack([output[0][:, 0] for output in recorded["head"][:6]])
    points = torch.stack([prediction.points[:, 0] for prediction in predictions])
    case.check("layers.query", torch.stack([values[:, 0] for values in recorded["feed_forward"][:6]]))
    case.check("layers.reference", references)
    case.check("layers.mu", points)
    case.check("layers.sigma", torch.stack([prediction.scales[:, 0] for prediction in predictions]))
    case.check("layers.delta", points - references)


def test_scores(case: Case, stages: dict[str, Any]) -> None:
    final = stages["plain"][:, 0]
    case.check("final.keypoints", final.points)
    case.check("final.score_eq8", probability(final.scales))
    case.check("final.score_official", probability(final.scales, factor=0.7))
    case.check("final.score_default", certainty(final.scales))


def test_flipped_crop(case: Case, stages: dict[str, Any]) -> None:
    flipped: Prediction = stages["flipped"]
    case.check("flip.raw_keypoints", flipped.points)
    case.check("flip.raw_sigma", flipped.scales)
    back = unflip(flipped, stages["model"].skeleton.flip_indices)
    case.check("flip.back_keypoints", back.points)
    case.check("flip.back_sigma", back.scales)


@pytest.mark.parametrize(
    ("official", "overrides"),
    [
        ("default", ()),
        ("noflip", ("MODEL.POSEUR.FLIP_FUSION", "none")),
        ("type1", ("MODEL.POSEUR.FLIP_FUSION", "agreement")),
        (
            "type2",
            override_list(
                {
                    "MODEL.POSEUR.FLIP_FUSION": "power_official",
                    "MODEL.POSEUR.SCORE": "probability",
                    "MODEL.POSEUR.SCORE_FACTOR": 0.7,
                }
            ),
        ),
    ],
)
def test_poses_in_the_image(case: Case, stages: dict[str, Any], official: str, overrides: tuple) -> None:
    model = case.model(CONFIG, "MODEL.POSEUR.OKS_NMS_THRESH", 1.0, *overrides).eval()
    inputs = [
        {"crops": crop[None], "crop_to_image": affine(meta)[None], "height": 480, "width": 640}
        | {"boxes": torch.zeros(1, 4), "box_scores": torch.ones(1)}
        for crop, meta in zip(case.image(), case.facts["img_metas"], strict=True)
    ]
    with torch.no_grad():
        poses = torch.cat([result["instances"].pred_keypoints for result in model(inputs)])
    case.check(f"test.{official}.preds", poses)


def affine(meta: dict) -> Tensor:
    """From pixels of the crop to those of the image, both counted as the official code counts."""
    center, size = torch.tensor(meta["center"]), 200 * torch.tensor(meta["scale"])
    scale = size / torch.tensor([192.0, 256.0])
    return torch.cat([torch.diag(scale), (center - size / 2)[:, None]], dim=1)
