"""The whole model at its edges: who is in the image, how large it is, how many keypoints there are."""

from pathlib import Path

import pytest
import torch
from helpers import model_contract as contract
from helpers.image_samples import sample
from helpers.poet_oracle import build, tiny
from torch import nn
from torch.testing import assert_close

OFFICIAL = "official/R_50.yaml"
VARIANTS = {
    "paper": ((), "R_50.yaml"),
    "official": ((), OFFICIAL),
    "last layer": (("MODEL.POET.AUXILIARY", False), "R_50.yaml"),
    "oks": (("MODEL.POET.LOSSES", [["oks", 1.0]]), "R_50.yaml"),
    "focal": (("MODEL.POET.CLASS_LOSS", "focal", "MODEL.POET.CLASS_WEIGHT", 2.0), "R_50.yaml"),
    "deformable": (("MODEL.POET.ENCODER", "deformable"), "R_50.yaml"),
    "more persons than queries": (("MODEL.POET.NUM_QUERIES", 2), "R_50.yaml"),
}
PAPER = {"loss_class", "loss_offset", "loss_visibility", "loss_center"}
KEYS = {
    "official": {"loss_class", "loss_keypoint", "loss_coded_offset", "loss_visibility", "loss_center"},
    "oks": {"loss_class", "loss_oks"},
}


def model_of(variant: str) -> nn.Module:
    overrides, config = VARIANTS[variant]
    return tiny(*overrides, config=config)


def varied(model: nn.Module) -> nn.Module:
    """The same model, in evaluation mode, whose queries find different poses."""
    with torch.no_grad():
        model.queries.positions.weight.mul_(8)
        model.head.regressor.layers[-1].weight.mul_(8)
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_whatever_the_batch_holds(variant: str) -> None:
    keys = contract.steps_are_sound(model_of(variant))
    last = KEYS.get(variant, PAPER)
    layers = set() if variant == "last layer" else {f"{name}_0" for name in last}
    assert keys == last | layers


@pytest.mark.parametrize("variant", ["paper", "official", "focal"])
def test_nobody_costs_nothing_but_the_class(variant: str) -> None:
    losses = model_of(variant).train()([sample(0, 0)])
    for name, loss in losses.items():
        assert (loss > 0) == name.startswith("loss_class")


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_persons_that_are_hard_leave_everything_finite(variant: str) -> None:
    contract.hard_persons_leave_everything_finite(model_of(variant))


@pytest.mark.parametrize("variant", ["paper", "official", "focal", "deformable"])
def test_a_batch_gives_what_its_images_give_one_by_one(variant: str) -> None:
    model = varied(model_of(variant))
    contract.batches_are_their_images(model, [sample(i, 1, (99, 131)) for i in range(3)], count=6)


@pytest.mark.parametrize("encoder", ["dense", "deformable"])
def test_a_larger_image_beside_changes_nothing(encoder: str) -> None:
    model = varied(tiny("MODEL.POET.ENCODER", encoder))
    small = sample(1, 1, (96, 128))
    with torch.no_grad():
        maps = model.backbone(model.preprocess([small]).tensor)["res5"]
        cells = model.projection(maps)
        padding = torch.zeros(1, *cells.shape[2:], dtype=torch.bool)
        alone = model.decode_features(cells, padding).predictions
        # What stands in the padding differs from zero.
        wide = torch.nn.functional.pad(cells, (0, 3, 0, 2), value=5.0)
        beside = torch.nn.functional.pad(padding, (0, 3, 0, 2), value=True)
        padded = model.decode_features(wide, beside).predictions
    assert_close(padded.poses.keypoints, alone.poses.keypoints)
    assert_close(padded.logits, alone.logits)


def test_padding_is_not_looked_at() -> None:
    """The dense encoder and the decoder give it no weight."""
    model = varied(tiny())
    batch = [sample(0, 1, (203, 250)), sample(1, 1, (96, 128))]
    images = model.preprocess(batch)
    assert images.tensor.shape == (2, 3, 203, 250)
    with torch.no_grad():
        clean = model.find(images, need_weights=True)
        attention = clean.attention
        padding = attention.decoder[1].amax(dim=0) == 0
        assert 0 < padding.sum() < len(padding)
        assert (attention.encoder[1][:, padding] == 0).all()
        assert_close(attention.decoder.sum(dim=2), torch.ones(2, 6))


def test_poses_come_back_in_the_original_image() -> None:
    small, _ = contract.poses_are_in_the_original_image(varied(tiny()))
    assert small.pred_keypoints.shape == (6, 17, 3)
    third = small.pred_keypoints[..., 2]
    assert ((third > 0) & (third < 1)).all()
    assert third.std() > 0.01


def test_poses_are_shifted_as_configured() -> None:
    assert tiny(config=OFFICIAL).shift == 0
    assert tiny("MODEL.POET.SHIFT", 0.5, config=OFFICIAL).shift == 0.5


def test_boxes_enclose_the_keypoints_within_the_image() -> None:
    result = contract.detections(varied(tiny()), [sample(0, 1, (96, 128))])[0]
    points = result.pred_keypoints[..., :2]
    low, high = points.amin(dim=1), points.amax(dim=1)
    expected = torch.cat([low, high], dim=1)
    limits = torch.tensor([128.0, 96.0, 128.0, 96.0])
    assert_close(result.pred_boxes.tensor, expected.clamp(min=0).minimum(limits))


def test_official_results() -> None:
    """Scores are of the likelier of two classes, persons without keypoints of class 1; no visibilities."""
    model = varied(tiny(config=OFFICIAL))
    assert model.head.classifier.out_features == 3
    with torch.no_grad():
        model.head.classifier.bias.copy_(torch.tensor([3.0, 1.0, 0.0]))
    result = contract.detections(model, [sample(0, 1)])[0]
    assert result.pred_classes.unique().tolist() == [1]
    assert (result.scores > 0.5).all()
    assert (result.pred_keypoints[..., 2] == 1).all()


def test_focal_classes_have_no_class_for_nobody_and_begin_with_low_scores() -> None:
    model = model_of("focal").eval()
    assert model.head.classifier.out_features == 1
    scores = contract.detections(model, [sample(0, 1)])[0].scores
    assert scores.mean() == pytest.approx(0.01, abs=0.01)
    with torch.no_grad():
        model.head.classifier.weight.zero_()
        model.head.classifier.bias.fill_(1.0)
    scores = contract.detections(model, [sample(0, 1)])[0].scores
    assert_close(scores, torch.full((6,), 0.7310586))


def test_the_class_weight_counts_in_losses_and_costs() -> None:
    weights = ("MODEL.POET.CLASS_LOSS", "focal", "MODEL.POET.CLASS_WEIGHT")
    single, double = (tiny(*weights, weight).train() for weight in (1.0, 2.0))
    double.load_state_dict(single.state_dict())
    batch = [sample(0, 0)]
    assert_close(double(batch)["loss_class"], 2 * single(batch)["loss_class"])
    assert double.matcher.class_weight == 2.0


def test_every_decoder_layer_can_be_decoded() -> None:
    model = varied(tiny())
    with torch.no_grad():
        found = model.find(model.preprocess([sample(0, 1)]))
        last = model([sample(0, 1)])[0]["instances"]
    assert found.attention is None
    layers = [model.decode(found.predictions, [(96, 128)], layer)[0] for layer in range(2)]
    assert torch.equal(layers[1].pred_keypoints, last.pred_keypoints)
    assert not torch.equal(layers[0].pred_keypoints, last.pred_keypoints)


def test_attention_maps_change_nothing() -> None:
    model = varied(tiny())
    images = model.preprocess([sample(0, 1), sample(1, 1, (64, 90))])
    with torch.no_grad():
        plain = model.find(images).predictions
        asked = model.find(images, need_weights=True).predictions
    assert_close(plain.logits, asked.logits)
    assert_close(plain.poses.centers, asked.poses.centers)


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, variant: str, tmp_path: Path) -> None:
    overrides, config = VARIANTS[variant]
    result = contract.other_keypoints_train_and_predict(
        tiny, nn.Module.eval, num_keypoints, tmp_path, *overrides, config=config
    )
    assert len(result) == 6


@pytest.mark.parametrize("variant", ["paper", "official", "oks"])
def test_half_precision_trains_and_predicts(variant: str) -> None:
    contract.half_precision_of_images(model_of(variant), nn.Module.eval)


def test_a_few_steps_lower_the_losses() -> None:
    model = tiny("MODEL.POET.DROPOUT", 0.0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    left = contract.losses_after(model, [sample(3, 2)], 12, optimizer)
    for name in ("loss_class", "loss_offset"):
        assert left[name] < 0.8, name


def test_a_map_that_the_backbone_does_not_have_names_the_key() -> None:
    with pytest.raises(ValueError, match=r"MODEL.POET.IN_FEATURE must be one of .*'res5'.*'p5'"):
        tiny("MODEL.POET.IN_FEATURE", "p5")


def test_flags_that_coco_does_not_have_name_the_key() -> None:
    with pytest.raises(ValueError, match=r"MODEL.POET.MIN_VISIBILITY must be one of 1, 2, not 3"):
        tiny("MODEL.POET.MIN_VISIBILITY", 3)


def test_the_dilated_stage() -> None:
    """Stride 16, and the first block is not dilated."""
    model = build("DC5_R_50.yaml")
    stage = model.backbone.res5
    assert [block.conv2.dilation for block in stage] == [(1, 1), (2, 2), (2, 2)]
    assert model.backbone.output_shape()["res5"].stride == 16
    with torch.no_grad():
        assert model.backbone(torch.rand(1, 3, 101, 75))["res5"].shape == (1, 2048, 7, 5)
