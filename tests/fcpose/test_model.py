"""The whole model on unusual inputs: images without persons, odd sizes, other skeletons, half precision."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import model_contract as contract
from helpers.configs import override_list
from helpers.fcpose_oracle import tiny
from helpers.image_samples import sample
from torch import nn
from torch.testing import assert_close

OFFICIAL = "official/R_50_3x.yaml"
VARIANTS = {
    "paper": ((), "R_50_1x.yaml"),
    "official": ((), OFFICIAL),
    "no offsets": (("MODEL.FCPOSE.REFINEMENT", "none"), "R_50_1x.yaml"),
    "deconvolution": (("MODEL.FCPOSE.REFINEMENT", "deconvolution"), "R_50_1x.yaml"),
    "per person": (("MODEL.FCPOSE.REFINEMENT", "per_person"), "R_50_1x.yaml"),
    "auxiliary": (("MODEL.FCPOSE.AUXILIARY", True), "R_50_1x.yaml"),
    "three levels": (
        override_list(
            {
                "MODEL.FPN.TOP_LEVELS": 0,
                "MODEL.FCOS.IN_FEATURES": ("p3", "p4", "p5"),
                "MODEL.FCOS.SIZE_RANGES": (64, 128),
            }
        ),
        "R_50_1x.yaml",
    ),
    "two layers": (("MODEL.FCPOSE.DEPTH", 2), "R_50_1x.yaml"),
}
BASE_KEYS = {"loss_cls", "loss_box", "loss_centerness", "loss_heatmap", "loss_offset"}


def without_offsets(variant: str) -> set[str]:
    return {"loss_offset"} if variant in ("no offsets", "deconvolution") else set()


def model_of(variant: str) -> nn.Module:
    overrides, config = VARIANTS[variant]
    return tiny(*overrides, config=config)


def detecting_everywhere(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with settings that make every location a candidate."""
    contract.every_location_is_a_candidate(model)
    with torch.no_grad():  # boxes with an area, and heatmaps whose peaks do not depend on rounding
        model.detector.head.predictions["ltrb"].conv.bias.fill_(2.0)
        model.keypoint_head.controller.weight.mul_(30)
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_steps_with_any_number_of_persons(variant: str) -> None:
    keys = contract.steps_are_sound(model_of(variant))
    auxiliary = (
        {"loss_auxiliary_coarse", "loss_auxiliary_fine"} if variant in ("official", "auxiliary") else set()
    )
    assert keys == (BASE_KEYS | auxiliary) - without_offsets(variant)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_without_persons_only_class_and_auxiliary_losses_are_positive(variant: str) -> None:
    losses = model_of(variant).train()([sample(0, 0)])
    for name in ("loss_box", "loss_centerness", "loss_heatmap", "loss_offset"):
        assert losses[name] == 0
    assert losses["loss_cls"] > 0


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_hard_persons_have_finite_losses_and_gradients(variant: str) -> None:
    contract.hard_persons_leave_everything_finite(model_of(variant))


@pytest.mark.parametrize("variant", ["paper", "official", "no offsets", "deconvolution", "per person"])
def test_a_batch_gives_what_its_images_give_one_by_one(variant: str) -> None:
    model = detecting_everywhere(model_of(variant))
    contract.batches_are_their_images(model, [sample(i, 1) for i in range(3)], count=20)


def test_images_without_a_detection() -> None:
    contract.nobody_is_found(model_of("paper"))


def test_poses_are_in_pixels_of_the_original_image() -> None:
    small, _ = contract.poses_are_in_the_original_image(detecting_everywhere(model_of("paper")))
    assert small.pred_keypoints.shape == (20, 17, 3)


def test_the_third_value_is_a_probability_or_a_logit_in_the_official_model() -> None:
    paper = contract.detections(detecting_everywhere(model_of("paper")), [sample(0, 1)])[0].pred_keypoints[
        ..., 2
    ]
    assert (paper > 0).all()
    assert (paper <= 1).all()
    model = detecting_everywhere(model_of("official"))
    with torch.no_grad():
        model.keypoint_head.controller.bias.fill_(0.5)
    assert (contract.detections(model, [sample(0, 1)])[0].pred_keypoints[..., 2] > 1).any()


def test_offsets_refine_the_centers_of_cells() -> None:
    model = detecting_everywhere(model_of("paper"))
    with torch.no_grad():
        model.shared_branch.offsets.conv.weight.zero_()
        model.shared_branch.offsets.conv.bias.copy_(torch.tensor([0.25, -0.125]).repeat(17))
    points = contract.detections(model, [sample(0, 1)])[0].pred_keypoints[..., :2]
    assert_close((points - torch.tensor([2.0, -1.0])) % 8, torch.full_like(points, 4.0))


@pytest.mark.parametrize(("variant", "cell"), [("no offsets", 8), ("deconvolution", 2)])
def test_without_offsets_keypoints_are_centers_of_cells(variant: str, cell: int) -> None:
    points = contract.detections(detecting_everywhere(model_of(variant)), [sample(0, 1)])[0].pred_keypoints[
        ..., :2
    ]
    assert_close(points % cell, torch.full_like(points, cell / 2))
    assert points[..., 0].max() <= 128
    assert points[..., 1].max() <= 96


def test_detections_in_the_padding_are_dropped() -> None:
    model = detecting_everywhere(model_of("paper"))
    with torch.no_grad():  # every side of a box is a tenth of a cell from its location
        model.detector.head.predictions["ltrb"].conv.weight.zero_()
        model.detector.head.predictions["ltrb"].conv.bias.fill_(0.1)
    model.detector.inference_settings = replace(model.detector.inference_settings, max_detections=1000)
    result = contract.detections(model, [sample(0, 1, (65, 65)), sample(1, 1, (96, 128))])
    assert len(result[1]) == 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2 + 1
    assert 64 < len(result[0]) < len(result[1])
    assert result[0].pred_boxes.nonempty().all()


def test_the_auxiliary_branch_does_not_run_in_inference() -> None:
    model = detecting_everywhere(model_of("official"))
    model.auxiliary.forward = None
    assert len(contract.detections(model, [sample(0, 1)])[0]) == 20


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, variant: str, tmp_path: Path) -> None:
    overrides, config = VARIANTS[variant]
    result = contract.other_keypoints_train_and_predict(
        tiny, detecting_everywhere, num_keypoints, tmp_path, *overrides, config=config
    )
    assert len(result) == 20


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_half_precision_trains_and_predicts(variant: str) -> None:
    contract.half_precision_of_images(model_of(variant), detecting_everywhere)


def test_a_deconvolution_goes_with_the_loss_over_cells() -> None:
    with pytest.raises(ValueError, match=r"HEATMAP_LOSS must be 'cells' with .*not 'upsampled'"):
        tiny("MODEL.FCPOSE.REFINEMENT", "deconvolution", "MODEL.FCPOSE.HEATMAP_LOSS", "upsampled")
