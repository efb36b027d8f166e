"""Analyses of a small POET with random weights, on drawn figures."""

from pathlib import Path

import cv2
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from helpers.poet_oracle import SMALL

from poet import POET
from poet.analysis.attention import draw_attention
from poet.analysis.centers import center_shifts
from poet.analysis.layers import METRICS, plot_layers
from poet.analysis.matched import MatchedPersons, matched_persons
from posecore.config import get_cfg
from posecore.data import build_samples
from posecore.data.synthetic import make_dataset
from posecore.inference.video import read_images
from posecore.modeling.set_prediction.poses import Poses


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The definition of three images of drawn figures."""
    return make_dataset(tmp_path_factory.mktemp("figures"), num_images=3, size=(64, 80))


@pytest.fixture(scope="module")
def trained(root: Path, dataset: Path) -> tuple[CfgNode, POET]:
    cfg = get_cfg()
    cfg.merge_from_file(str(root / "configs/poet/R_50.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TEST", 64, *SMALL])
    cfg.merge_from_list(["DATASETS.DEFINITIONS", [str(dataset)], "DATASETS.TEST", ("synthetic_train",)])
    return cfg, build_model(cfg).eval()


def test_attention_has_a_map_for_each_point_and_query(trained, dataset: Path) -> None:
    cfg, model = trained
    image = next(iter(read_images(dataset.parent))).image
    points = [(10.0, 60.0), (70.0, 20.0)]
    maps = draw_attention(model, build_samples(cfg), image, points, threshold=0.0)
    # Two points and six queries, three in a row.
    assert 3 * 64 < maps.shape[0] < 4 * 100
    assert maps.std() > 1
    assert draw_attention(model, build_samples(cfg), image, points, threshold=1.0).shape[0] < 100


def test_attention_needs_something_to_show(trained, dataset: Path) -> None:
    cfg, model = trained
    image = next(iter(read_images(dataset.parent))).image
    with pytest.raises(ValueError, match="must lie in the image, which is 80 x 64"):
        draw_attention(model, build_samples(cfg), image, [(10, 200)])
    with pytest.raises(ValueError, match="nobody is found"):
        draw_attention(model, build_samples(cfg), image, threshold=1.0)


def test_a_deformable_encoder_has_no_maps_of_points(trained, dataset: Path) -> None:
    cfg = trained[0].clone()
    cfg.MODEL.POET.ENCODER = "deformable"
    model = build_model(cfg).eval()
    image = next(iter(read_images(dataset.parent))).image
    assert draw_attention(model, build_samples(cfg), image, threshold=0.0).std() > 1
    with pytest.raises(ValueError, match=r"dense attention \(MODEL\.POET\.ENCODER\)"):
        draw_attention(model, build_samples(cfg), image, [(10.0, 60.0)])


def test_every_person_has_a_prediction(trained) -> None:
    images = list(matched_persons(*trained, num_images=2))
    assert len(images) == 2
    for matched in images:
        assert len(matched.scores) == len(matched.ground_truth) == len(matched.poses.centers) > 0
        assert ((matched.centers >= 0) & (matched.centers <= 1))[matched.any_visible].all()


def test_shifts_are_in_diagonals_of_boxes() -> None:
    ground_truth = Instances((50, 100), gt_boxes=Boxes(torch.tensor([[0.0, 0, 30, 40], [0, 0, 5, 5]])))
    centers = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    predicted = Poses(centers + torch.tensor([0.1, -0.2]), torch.zeros(2, 3, 2), torch.zeros(2, 3))
    matched = MatchedPersons(
        image=torch.zeros(3, 50, 100),
        ground_truth=ground_truth,
        scores=torch.ones(2),
        poses=predicted,
        centers=centers,
        any_visible=torch.tensor([True, False]),
    )
    torch.testing.assert_close(center_shifts(matched), torch.tensor([[10 / 50, -10 / 50]]))


def test_layers_are_plotted_and_tabled(tmp_path: Path) -> None:
    metrics = [dict.fromkeys(METRICS, 10.0), dict.fromkeys(METRICS, 12.5)]
    lines = plot_layers(metrics, tmp_path / "layers.png").splitlines()
    assert [line.split() for line in lines] == [
        ["layer", "AP", "AP50", "AP75"],
        ["1", "10.0", "10.0", "10.0"],
        ["2", "12.5", "12.5", "12.5"],
    ]
    assert cv2.imread(str(tmp_path / "layers.png")).std() > 1
