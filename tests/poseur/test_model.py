"""The whole model at its edges: images without persons, crops without labels, other numbers of keypoints."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import model_contract as contract
from helpers.person_crops import SIZE, crop, image
from helpers.poseur_oracle import tiny
from torch import nn
from torch.testing import assert_close

from poseur.attention import keypoint_attention
from poseur.flip import agreement_fusion, mean_fusion, power_fusion

OFFICIAL = "official/R_50_256x192.yaml"
L1 = ("MODEL.POSEUR.LOSS", "l1", "MODEL.POSEUR.SCORE", "none")
VARIANTS = {
    "paper": (),
    "no noise": ("MODEL.POSEUR.NOISE.KIND", "none"),
    "perturbed": ("MODEL.POSEUR.NOISE.KIND", "perturbed", "MODEL.POSEUR.NOISE.GROUPS", 1),
    "no self-attention": ("MODEL.POSEUR.SELF_ATTENTION", False),
    "shared layers": ("MODEL.POSEUR.SHARE_LAYERS", True, "MODEL.POSEUR.NUM_LAYERS", 3),
    "MSDA": ("MODEL.POSEUR.CROSS_ATTENTION", "MSDA"),
    "learned start": ("MODEL.POSEUR.START", "learned"),
    "RLE": ("MODEL.POSEUR.NUM_LAYERS", 0),
    "L1": L1,
    "L1 without decoder": (*L1, "MODEL.POSEUR.NUM_LAYERS", 0),
    "two levels": ("MODEL.POSEUR.IN_FEATURES", ("res4", "res5")),
}


def model_of(variant: str) -> nn.Module:
    if variant == "official":
        return tiny(config=OFFICIAL)
    return tiny(*VARIANTS[variant])


def awake(model: nn.Module) -> nn.Module:
    """The same model, in evaluation mode, whose predictions depend on what it sees."""
    for name, parameter in model.network.named_parameters():
        if "head." in name or "sampling" in name or "attention_weights" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.mark.parametrize("variant", [*VARIANTS, "official"])
def test_a_step_whatever_the_batch_holds(variant: str) -> None:
    model = model_of(variant).train()
    layers = {"RLE": 0, "L1 without decoder": 0, "shared layers": 3}.get(variant, 2)
    expected = {f"loss_decoder{layer}" for layer in range(layers)}
    expected |= set() if variant == "learned start" else {"loss_coarse"}
    for visible in ([True, False, True], [False, False]):
        losses = model([crop(seed, labels) for seed, labels in enumerate(visible)])
        assert losses.keys() == expected
        assert all(loss.isfinite() for loss in losses.values())
        assert all((loss != 0) == any(visible) for loss in losses.values())
        model.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("variant", ["paper", "official", "L1"])
def test_what_is_not_labeled_does_not_matter(variant: str) -> None:
    model = model_of(variant).train()
    model.network.eval()  # without noise and dropout
    inputs, other = crop(0), crop(0)
    keypoints = other["instances"].gt_keypoints.tensor
    keypoints[..., :2][keypoints[..., 2] == 0] = float("nan")
    assert (keypoints[..., 2] == 0).any()
    plain, changed = model([inputs, crop(1)]), model([other, crop(1)])
    for name, loss in plain.items():
        assert loss.isfinite()
        assert_close(loss, changed[name])


@pytest.mark.parametrize("variant", ["paper", "official", "RLE", "learned start"])
def test_a_batch_gives_what_its_images_give_one_by_one(variant: str) -> None:
    model = awake(model_of(variant))
    batch = [image(0, 2), image(1, 0), image(2, 3), image(3, 1)]
    for together, inputs in zip(contract.detections(model, batch), batch, strict=True):
        alone = contract.detections(model, [inputs])[0]
        assert len(together) == len(inputs["crops"])
        assert together.image_size == (100, 120)
        assert together.pred_keypoints.shape == (len(together), 17, 3)
        assert_close(together.scores, alone.scores)
        assert_close(together.pred_keypoints, alone.pred_keypoints, atol=1e-3, rtol=1e-4)
        assert torch.equal(together.pred_boxes.tensor, alone.pred_boxes.tensor)


def test_images_without_persons() -> None:
    for result in contract.detections(awake(model_of("paper")), [image(0, 0), image(1, 0)]):
        assert result.pred_keypoints.shape == (0, 17, 3)
        assert result.pred_boxes.tensor.shape == (0, 4)
        assert len(result.scores) == len(result.pred_classes) == 0


def test_many_crops_go_through_the_network_in_parts() -> None:
    model = awake(model_of("paper"))
    model.inference_settings = replace(model.inference_settings, oks_nms_thresh=1.0)
    whole = contract.detections(model, [image(0, 5)])[0]
    model.inference_settings = replace(model.inference_settings, max_crops_per_pass=2)
    parts = contract.detections(model, [image(0, 5)])[0]
    assert_close(whole.pred_keypoints, parts.pred_keypoints, atol=1e-3, rtol=1e-4)


def test_poses_are_in_the_image_and_best_first() -> None:
    model = awake(model_of("paper"))
    inputs = image(0, 3)
    plain = contract.detections(model, [inputs])[0]
    assert (plain.scores.diff() <= 0).all()
    assert plain.pred_classes.tolist() == [0, 0, 0]
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
    moved = inputs | {
        "crop_to_image": turn @ inputs["crop_to_image"]
        + torch.tensor([0.0, 7.0])[:, None] * torch.tensor([0.0, 0, 1])
    }
    turned = contract.detections(model, [moved])[0]
    expected = plain.pred_keypoints[..., :2] @ turn.T + torch.tensor([0.0, 7.0])
    assert_close(turned.pred_keypoints[..., :2], expected, atol=1e-3, rtol=1e-4)
    assert_close(turned.pred_keypoints[..., 2], plain.pred_keypoints[..., 2])


def test_scores_are_those_of_box_and_keypoints() -> None:
    result = contract.detections(awake(model_of("paper")), [image(0, 3)])[0]
    confidence = result.pred_keypoints[..., 2]
    assert ((confidence > 0) & (confidence < 1)).all()
    boxes = image(0, 3)
    own = [(boxes["boxes"] == box).all(dim=1).nonzero().item() for box in result.pred_boxes.tensor]
    assert_close(result.scores, boxes["box_scores"][own] * confidence.mean(dim=1))


def test_the_same_person_is_found_once() -> None:
    model = awake(model_of("paper"))
    inputs = image(0, 3)
    for name in ("crops", "crop_to_image", "boxes"):
        inputs[name][2] = inputs[name][0]
    found = contract.detections(model, [inputs])[0]
    assert len(found) == 2
    model.inference_settings = replace(model.inference_settings, oks_nms_thresh=1.0)
    assert len(contract.detections(model, [inputs])[0]) == 3


@pytest.mark.parametrize("fusion", [mean_fusion, power_fusion, agreement_fusion])
def test_a_flipped_crop_has_the_flipped_pose(fusion: object) -> None:
    """What the flip test is for: it makes the model symmetric."""
    model = awake(model_of("paper"))
    inputs = image(0, 1) | {"crop_to_image": torch.eye(2, 3)[None]}
    flipped = inputs | {"crops": inputs["crops"].flip(3)}
    model.inference_settings = replace(model.inference_settings, flip_fusion=None)
    assert not torch.allclose(*(swap(model, x, x is flipped) for x in (inputs, flipped)), atol=0.1)
    model.inference_settings = replace(model.inference_settings, flip_fusion=fusion)
    assert_close(swap(model, inputs, False), swap(model, flipped, True), atol=1e-3, rtol=1e-4)


def swap(model: nn.Module, inputs: dict, flipped: bool) -> torch.Tensor:
    keypoints = contract.detections(model, [inputs])[0].pred_keypoints[0]
    if not flipped:
        return keypoints
    x, y, score = keypoints[list(model.skeleton.flip_indices)].unbind(dim=1)
    return torch.stack([SIZE[1] - x, y, score], dim=1)


def test_noise_and_flows_rest_at_test_time() -> None:
    model = awake(model_of("paper"))
    model.network.start.noise = None
    model.pose_losses = nn.ModuleDict()
    assert len(contract.detections(model, [image(0, 2)])[0]) == 2


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_can_be_looked_at(variant: str) -> None:
    contract.losses_are_looked_at(model_of(variant), [crop(0), crop(1, False)])


def test_inputs_stay_as_they_are() -> None:
    model = model_of("official")
    for batch in ([crop(0), crop(1, False)], [image(0, 2), image(1, 0)]):
        before = copy.deepcopy(batch)
        model.train("instances" in batch[0])(batch)
        for now, then in zip(batch, before, strict=True):
            assert now.keys() == then.keys()
            for name in ("crops", "crop_to_image", "boxes", "box_scores"):
                assert torch.equal(now[name], then[name])
            if "instances" in now:
                ours, theirs = now["instances"].gt_keypoints, then["instances"].gt_keypoints
                assert torch.equal(ours.tensor, theirs.tensor)


@pytest.mark.parametrize("config", ["R_50_256x192.yaml", OFFICIAL])
@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, config: str, tmp_path: Path) -> None:
    model = tiny("DATASETS.SKELETON", contract.skeleton_of(num_keypoints, tmp_path), config=config)
    labeled = crop(0, num_keypoints=num_keypoints)
    result = contract.trains_and_predicts(model, awake, [labeled] * 2, image(0, 2))
    assert result.pred_keypoints.shape[1:] == (num_keypoints, 3)


def test_a_person_with_other_keypoints_is_named() -> None:
    with pytest.raises(ValueError, match=r"image0\.jpg.*5 keypoints.*17 of skeleton 'coco_17'"):
        model_of("paper").train()([crop(0, num_keypoints=5)])


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_half_precision_trains_and_predicts(variant: str) -> None:
    contract.half_precision_trains_and_predicts(model_of(variant), awake, [crop(0), crop(1)], image(0, 2))


def test_what_are_no_crops_or_do_not_fit_is_named() -> None:
    model = model_of("paper").eval()
    with pytest.raises(ValueError, match=r"INPUT.SAMPLES must be 'person_crops'"):
        model([{"image": torch.zeros(3, *SIZE)}])
    larger = image(1, 2)
    larger["crops"] = torch.zeros(2, 3, 96, 72)
    with pytest.raises(ValueError, match=r"one size, not \[\(64, 48\), \(96, 72\)\]"):
        model([image(0, 1), larger])


def test_attention_between_keypoints() -> None:
    model = awake(model_of("shared layers"))
    weights = keypoint_attention(model, image(0, 2)["crops"])
    assert weights.shape == (3, 2, 17, 17)
    assert_close(weights.sum(dim=-1), torch.ones(3, 2, 17))
    with pytest.raises(ValueError, match=r"MODEL.POSEUR.SELF_ATTENTION must be True"):
        keypoint_attention(model_of("no self-attention"), image(0, 2)["crops"])


def test_wrong_maps_and_scores_are_named() -> None:
    with pytest.raises(ValueError, match=r"MODEL.POSEUR.IN_FEATURES .*'res2'.*not \('p3',\)"):
        tiny("MODEL.POSEUR.IN_FEATURES", ("p3",))
    with pytest.raises(ValueError, match=r"MODEL.POSEUR.SCORE must be 'none' with .*'l1'"):
        tiny("MODEL.POSEUR.LOSS", "l1")
