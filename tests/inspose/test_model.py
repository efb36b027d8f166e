"""Both models on unusual inputs: images without persons, odd sizes, other skeletons, half precision."""

from pathlib import Path

import pytest
import torch
from helpers import model_contract as contract
from helpers.image_samples import sample
from helpers.inspose_oracle import OFFICIAL, count_networks, tiny
from torch import nn
from torch.testing import assert_close

PAPER = "R_50_36ep.yaml"
VARIANTS = {
    "paper": ((), PAPER),
    "official": ((), OFFICIAL),
    "no offsets": (("MODEL.INSPOSE.DISK_OFFSET", False, "MODEL.INSPOSE.HEATMAP", False), PAPER),
    "boxes": (("MODEL.INSPOSE.BOXES", True), PAPER),
    "one layer": (("MODEL.INSPOSE.DEPTH", 1), PAPER),
    "four layers": (("MODEL.INSPOSE.DEPTH", 4), PAPER),
    "coarse": (("MODEL.INSPOSE.STRIDE", 16), PAPER),
    "finest": (("MODEL.INSPOSE.STRIDE", 2), PAPER),
}
PAPER_KEYS = {"loss_cls", "loss_keypoint", "loss_disk_offset", "loss_heatmap"}
KEYS = {
    "official": PAPER_KEYS | {"loss_keypoint_reg", "loss_ae_pull", "loss_ae_push"},
    "no offsets": {"loss_cls", "loss_keypoint"},
    "boxes": PAPER_KEYS | {"loss_box"},
}


def model_of(variant: str) -> nn.Module:
    overrides, config = VARIANTS[variant]
    return tiny(*overrides, config=config)


def detecting_everywhere(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with settings that make every location a candidate."""
    contract.every_location_is_a_candidate(model)
    with torch.no_grad():  # peaks and scores that do not depend on rounding
        model.keypoint_networks.controller.weight.mul_(30)
        model.keypoint_networks.controller.bias.normal_()
        for name, weight in model.detector.head.named_parameters():
            if name in ("predictors.cls.conv.weight", "classifier.weight", "keypoints.weight"):
                weight.mul_(30)
        if "ltrb" in getattr(model.detector.head, "predictions", {}):
            model.detector.head.predictions["ltrb"].conv.bias.fill_(2.0)
    return model.eval()


@pytest.mark.parametrize(("depth", "count"), [(1, 10 * 17 + 17), (2, 88 + 153), (3, 313), (4, 313 + 72)])
def test_the_number_of_generated_parameters_follows_from_the_layers(depth: int, count: int) -> None:
    assert tiny("MODEL.INSPOSE.DEPTH", depth).keypoint_networks.layers.num_parameters == count


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_steps_with_any_number_of_persons(variant: str) -> None:
    assert contract.steps_are_sound(model_of(variant)) == KEYS.get(variant, PAPER_KEYS)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_without_persons_only_class_and_heatmap_losses_are_positive(variant: str) -> None:
    losses = model_of(variant).train()([sample(0, 0)])
    assert losses.pop("loss_cls") > 0
    assert losses.pop("loss_heatmap") > 0
    assert all(loss == 0 for loss in losses.values())


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_hard_persons_have_finite_losses_and_gradients(variant: str) -> None:
    contract.hard_persons_leave_everything_finite(model_of(variant))


@pytest.mark.parametrize("variant", ["paper", "official", "no offsets", "boxes", "coarse"])
def test_a_batch_gives_what_its_images_give_one_by_one(variant: str) -> None:
    model = detecting_everywhere(model_of(variant))
    contract.batches_are_their_images(model, [sample(i, 1) for i in range(3)], count=20)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_images_without_a_detection(variant: str) -> None:
    contract.nobody_is_found(model_of(variant))


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_poses_are_in_pixels_of_the_original_image(variant: str) -> None:
    small, _ = contract.poses_are_in_the_original_image(detecting_everywhere(model_of(variant)))
    assert small.pred_keypoints.shape == (20, 17, 3)


def test_official_poses_are_shifted_as_configured() -> None:
    assert model_of("official").shift == 0
    assert tiny("MODEL.INSPOSE.OFFICIAL.SHIFT", 0.5, config=OFFICIAL).shift == 0.5


def test_the_third_value_is_a_probability_or_one_in_the_official_model() -> None:
    paper = contract.detections(detecting_everywhere(model_of("paper")), [sample(0, 1)])[0].pred_keypoints[
        ..., 2
    ]
    assert (paper > 0).all()
    assert (paper <= 1).all()
    assert paper.unique().numel() > 1
    assert (
        contract.detections(detecting_everywhere(model_of("official")), [sample(0, 1)])[0].pred_keypoints[
            ..., 2
        ]
        == 1
    ).all()


@pytest.mark.parametrize(("variant", "cell"), [("paper", 8), ("coarse", 16), ("finest", 2)])
def test_offsets_refine_the_centers_of_cells(variant: str, cell: int) -> None:
    model = detecting_everywhere(model_of(variant))
    with torch.no_grad():
        model.disk_offsets.predictor.weight.zero_()
        model.disk_offsets.predictor.bias.copy_(torch.tensor([0.25, -0.125]).repeat(17))
    points = contract.detections(model, [sample(0, 1)])[0].pred_keypoints[..., :2]
    shifted = (points - torch.tensor([0.25, -0.125]) * cell) % cell
    assert_close(shifted, torch.full_like(points, cell / 2), atol=1e-4, rtol=0)
    assert len(points.flatten(0, 1).unique(dim=0)) > 10


def test_without_offsets_keypoints_are_centers_of_cells() -> None:
    points = contract.detections(detecting_everywhere(model_of("no offsets")), [sample(0, 1)])[
        0
    ].pred_keypoints[..., :2]
    assert_close(points % 8, torch.full_like(points, 4.0))
    assert points[..., 0].max() <= 128
    assert points[..., 1].max() <= 96


def test_boxes_enclose_the_keypoints_unless_they_are_predicted() -> None:
    result = contract.detections(detecting_everywhere(model_of("paper")), [sample(0, 1)])[0]
    limits = torch.tensor([128.0, 96.0])
    points = result.pred_keypoints[..., :2].clamp(min=0).minimum(limits)
    assert_close(result.pred_boxes.tensor, torch.cat([points.amin(1), points.amax(1)], dim=1))
    result = contract.detections(detecting_everywhere(model_of("boxes")), [sample(0, 1)])[0]
    points = result.pred_keypoints[..., :2].clamp(min=0).minimum(limits)
    assert (result.pred_boxes.tensor - torch.cat([points.amin(1), points.amax(1)], dim=1)).abs().max() > 1


def test_networks_are_generated_for_at_most_the_limit_of_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    model = detecting_everywhere(tiny("MODEL.FCOS.TOPK_PER_IMAGE", 30))
    counts = count_networks(model, monkeypatch)
    contract.detections(model, [sample(0, 1), sample(1, 1)])
    assert counts == [60]  # of both images


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_auxiliary_branches_do_not_run_in_inference(variant: str) -> None:
    model = detecting_everywhere(model_of(variant))
    if variant == "paper":
        model.heatmap_branch.forward = None
    else:
        model.trunk.heatmaps.forward = model.trunk.tags.forward = None
    assert len(contract.detections(model, [sample(0, 1)])[0]) == 20


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, variant: str, tmp_path: Path) -> None:
    overrides, config = VARIANTS[variant]
    taps = ["head", "left_hand", "right_hand"] * 3 if num_keypoints == 5 else None
    overrides = (*overrides, "MODEL.INSPOSE.OFFICIAL.TAPS", taps) if taps else overrides
    result = contract.other_keypoints_train_and_predict(
        tiny, detecting_everywhere, num_keypoints, tmp_path, *overrides, config=config
    )
    assert len(result) == 20


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_half_precision_trains_and_predicts(variant: str) -> None:
    contract.half_precision_of_images(model_of(variant), detecting_everywhere)


def test_an_unknown_value_is_an_error_that_names_the_key_and_its_values(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MODEL\.INSPOSE\.STRIDE must be one of 16, 8, 4, 2, not 3"):
        tiny("MODEL.INSPOSE.STRIDE", 3)
    with pytest.raises(ValueError, match=r"TAPS must name 9 keypoints, not 1"):
        tiny("MODEL.INSPOSE.OFFICIAL.TAPS", ["nose"], config=OFFICIAL)
    with pytest.raises(ValueError, match=r"TAPS names keypoints that skeleton 'star' lacks: \['nose'"):
        tiny("DATASETS.SKELETON", contract.skeleton_of(5, tmp_path), config=OFFICIAL)
