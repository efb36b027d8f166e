"""The whole model on unusual inputs: images without persons, odd sizes, other skeletons, half precision."""

from pathlib import Path

import pytest
import torch
from helpers import model_contract as contract
from helpers.configs import override_list
from helpers.directpose_oracle import tiny
from helpers.image_samples import sample
from torch import nn
from torch.testing import assert_close

from posecore.modeling.fcos.detector import InferenceSettings

VARIANTS = {
    "kpalign": (),
    "naive": ("MODEL.DIRECTPOSE.HEAD", "naive"),
    "no aligner": override_list(
        {
            "MODEL.DIRECTPOSE.ALIGNER": False,
            "MODEL.DIRECTPOSE.GROUPS": "keypoints",
            "MODEL.DIRECTPOSE.SEPARATE_FEATURES": False,
            "MODEL.DIRECTPOSE.SAMPLE_FROM": "same",
        }
    ),
    "1/16 heatmaps": ("MODEL.DIRECTPOSE.HEATMAP_LEVEL", "p4"),
    "no heatmaps": ("MODEL.DIRECTPOSE.HEATMAP_LEVEL", ""),
    "boxes": ("MODEL.DIRECTPOSE.BOX_BRANCH", True),
}


def detecting_everywhere(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, with settings that make every location a candidate."""
    model.detector.inference_settings = InferenceSettings(score_thresh=0.0, nms_thresh=0.9, max_detections=20)
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_steps_with_any_number_of_persons(variant: str) -> None:
    keys = contract.steps_are_sound(tiny(*VARIANTS[variant]))
    assert ("loss_heatmap" in keys) == (variant != "no heatmaps")
    assert ("loss_box" in keys) == (variant == "boxes")


def test_without_persons_only_class_and_heatmap_losses_are_positive() -> None:
    losses = tiny().train()([sample(0, 0)])
    assert losses["loss_keypoint"] == 0
    assert losses["loss_centerness"] == 0
    assert losses["loss_cls"] > 0
    assert losses["loss_heatmap"] > 0


@pytest.mark.parametrize("variant", ["kpalign", "naive", "boxes"])
def test_a_batch_gives_what_its_images_give_one_by_one(variant: str) -> None:
    model = detecting_everywhere(tiny(*VARIANTS[variant]))
    contract.batches_are_their_images(model, [sample(i, 1) for i in range(3)], count=20)


def test_poses_are_in_pixels_of_the_original_image() -> None:
    small, _ = contract.poses_are_in_the_original_image(detecting_everywhere(tiny()))
    assert small.pred_keypoints.shape == (20, 17, 3)
    assert (small.pred_keypoints[..., 2] == 1).all()


def test_boxes_enclose_the_keypoints_within_the_image() -> None:
    result = contract.detections(detecting_everywhere(tiny()), [sample(0, 1)])[0]
    x, y = result.pred_keypoints[..., 0].clamp(0, 128), result.pred_keypoints[..., 1].clamp(0, 96)
    expected = torch.stack([x.amin(1), y.amin(1), x.amax(1), y.amax(1)], dim=1)
    assert_close(result.pred_boxes.tensor, expected)


def test_detections_have_the_boxes_of_the_box_branch() -> None:
    model = detecting_everywhere(tiny(*VARIANTS["boxes"]))
    with torch.no_grad():  # every side of a box is two cells from its location
        model.detector.head.predictions["ltrb"].conv.weight.zero_()
        model.detector.head.predictions["ltrb"].conv.bias.fill_(2.0)
    result = contract.detections(model, [sample(0, 1, (256, 256))])[0]
    sizes = result.pred_boxes.tensor[:, 2:] - result.pred_boxes.tensor[:, :2]
    assert {4 * 8.0, 4 * 16.0} & set(sizes.flatten().tolist())


def test_the_heatmap_branch_does_not_run_in_inference() -> None:
    model = detecting_everywhere(tiny())
    model.heatmap_branch.forward = None
    assert len(contract.detections(model, [sample(0, 1)])[0]) == 20


def test_images_without_a_detection() -> None:
    contract.nobody_is_found(tiny())


@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, tmp_path: Path) -> None:
    model = tiny("DATASETS.SKELETON", contract.skeleton_of(num_keypoints, tmp_path))
    labeled = sample(0, 2, num_keypoints=num_keypoints)
    result = contract.trains_and_predicts(model, detecting_everywhere, [labeled], sample(0, 1))
    assert result.pred_keypoints.shape == (20, num_keypoints, 3)


def test_persons_of_another_skeleton_are_an_error_that_names_the_image() -> None:
    with pytest.raises(ValueError, match=r"image3\.jpg.*14 keypoints.*17.*coco_17"):
        tiny().train()([sample(3, 1, num_keypoints=14)])


def test_half_precision_trains_and_predicts() -> None:
    contract.half_precision_of_images(tiny(), detecting_everywhere)


def test_double_precision_stays_double() -> None:
    model = tiny().double()
    losses = model.train()([sample(0, 2)])
    assert losses["loss_keypoint"].dtype == torch.float64
