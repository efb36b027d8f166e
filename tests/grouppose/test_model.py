"""The whole model at its edges: who is in the image, how large it is, how many keypoints there are."""

from pathlib import Path

import pytest
import torch
from helpers import model_contract as contract
from helpers.grouppose_oracle import build, tiny
from helpers.image_samples import sample
from helpers.processes import in_processes
from torch import nn
from torch.testing import assert_close

from posecore.modeling.set_prediction.persons import Persons

OFFICIAL = "official/R_50.yaml"
VARIANTS = {
    "paper": ((), "R_50.yaml"),
    "official": ((), OFFICIAL),
    "no refinement": (("MODEL.GROUPPOSE.ITERATIVE_REFINEMENT", False), "R_50.yaml"),
    "varifocal": (("MODEL.GROUPPOSE.CLASS_LOSS", "oks_varifocal"), "R_50.yaml"),
    "denoising": (("MODEL.GROUPPOSE.DENOISING", 2), "R_50.yaml"),
    "more persons than queries": (("MODEL.GROUPPOSE.NUM_QUERIES", 2), "R_50.yaml"),
    "more queries than cells": (("MODEL.GROUPPOSE.NUM_QUERIES", 1000), "R_50.yaml"),
}
LOSSES = {"loss_class", "loss_keypoint", "loss_oks"}


def model_of(variant: str) -> nn.Module:
    overrides, config = VARIANTS[variant]
    return tiny(*overrides, config=config)


def varied(model: nn.Module) -> nn.Module:
    """The same model, in evaluation mode, whose queries move their keypoints and differ in their scores."""
    with torch.no_grad():
        for head in (model.proposals.regressor, *model.decoder.regressors):
            nn.init.normal_(head.layers[-1].weight, std=0.3)
        for head in (model.proposals.classifier, *model.decoder.classifiers):
            head.weight.mul_(8)
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_whatever_the_batch_holds(variant: str) -> None:
    keys = contract.steps_are_sound(model_of(variant))
    last = {name.replace("oks", "relative_oks") for name in LOSSES} if variant == "official" else LOSSES
    suffixes = ["_proposals", "_0", ""]
    if variant == "denoising":
        suffixes += ["_0_denoising", "_denoising"]
    assert keys == {f"{name}{suffix}" for name in last for suffix in suffixes}


@pytest.mark.parametrize("variant", ["paper", "official", "denoising"])
def test_nobody_costs_nothing_but_the_class(variant: str) -> None:
    losses = model_of(variant).train()([sample(0, 0)])
    for name, loss in losses.items():
        assert (loss > 0) == (name.startswith("loss_class") and "denoising" not in name)


@pytest.mark.parametrize("variant", ["paper", "official", "varifocal", "denoising"])
def test_persons_that_are_hard_leave_everything_finite(variant: str) -> None:
    contract.hard_persons_leave_everything_finite(model_of(variant))


def test_persons_without_labeled_keypoints_are_background() -> None:
    people = sample(0, 3)["instances"]
    people.gt_keypoints.tensor[1, :, 2] = 0
    persons = tiny().persons([people])
    assert len(persons) == 2
    assert_close(persons.areas, people.gt_boxes.area()[[0, 2]])
    people.gt_areas = torch.tensor([7.0, 8.0, 9.0])
    assert tiny().persons([people]).areas.tolist() == [7, 9]


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_a_batch_gives_what_its_images_give_one_by_one(variant: str) -> None:
    model = varied(model_of(variant))
    count = 6 * (2 if variant == "official" else 1)
    contract.batches_are_their_images(model, [sample(i, 1, (99, 131)) for i in range(3)], count=count)


def test_padding_is_not_looked_at() -> None:
    """What stands in cells of padding changes nothing, and no query starts there."""
    model = varied(tiny())
    images = model.preprocess([sample(0, 1, (203, 250)), sample(1, 1, (96, 128))])
    with torch.no_grad():
        clean = model.find(images)
        projection = model.projection.forward

        def spoiled(maps: list[torch.Tensor]) -> list[torch.Tensor]:
            levels = projection(maps)
            for level in levels:  # of the second image, beyond what it takes of the batch
                level[1, :, -(-level.shape[2] * 96 // 203) :] = 1e3
                level[1, :, :, -(-level.shape[3] * 128 // 250) :] = 1e3
            return levels

        model.projection.forward = spoiled
        dirty = model.find(images)
    assert_close(dirty.proposals.keypoints, clean.proposals.keypoints)
    assert_close(dirty.predictions.logits, clean.predictions.logits)
    assert_close(dirty.predictions.poses.keypoints, clean.predictions.poses.keypoints)


def test_permuted_queries_give_permuted_poses() -> None:
    model = varied(tiny())
    images = model.preprocess([sample(0, 1)])
    with torch.no_grad():
        maps = model.backbone(images.tensor)
        levels = model.projection([maps[name] for name in model.in_features])
        memory = model.encoder(levels, [x.new_zeros(1, *x.shape[2:], dtype=torch.bool) for x in levels])
        proposals = model.proposals(memory)
        order = torch.randperm(6)
        tokens = model.tokens(proposals.features)
        usual = model.decoder(tokens, proposals.keypoints, memory)
        permuted = model.decoder(tokens[:, order], proposals.keypoints[:, order], memory)
    assert_close(permuted.poses.keypoints, usual.poses.keypoints[:, :, order])
    assert_close(permuted.logits, usual.logits[:, :, order])


def test_without_refinement_every_layer_starts_from_the_proposals() -> None:
    model = varied(model_of("no refinement"))
    starts = []
    for layer in model.decoder.layers:
        layer.register_forward_hook(lambda _, inputs, __: starts.append(inputs[2][:, :, 1:]))
    with torch.no_grad():
        found = model.find(model.preprocess([sample(0, 1)]))
    assert len(starts) == 2
    for start in starts:
        assert_close(start, found.proposals.keypoints)
    assert not torch.allclose(found.predictions.poses.keypoints[0], found.predictions.poses.keypoints[1])


def test_denoising_changes_nothing_for_the_other_queries() -> None:
    torch.manual_seed(0)
    plain = tiny()
    model = model_of("denoising")
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert missing.missing_keys == ["denoiser.embedding.weight"]
    batch = [sample(0, 2), sample(1, 1), sample(2, 0)]
    expected = plain.train()(batch)
    found = model.train()(batch)
    for name, loss in expected.items():
        assert_close(found[name], loss)
    assert len(contract.detections(varied(model), [sample(0, 1)])[0]) == 6


def shifted(persons: Persons) -> torch.Tensor:
    """The same noise in every process. Without any, the gradient of L1 would be that of rounding."""
    keypoints = persons.poses.keypoints + 0.05 * torch.arange(17)[:, None].cos()
    visible = persons.poses.visibility[..., None] > 0
    return keypoints.where(visible, persons.poses.centers[:, None]).expand(2, -1, -1, -1).clamp(0, 1)


def denoised_step(people: list[int], share: bool) -> dict:
    torch.manual_seed(0)
    model = model_of("denoising").train()
    model.denoiser.noised = shifted
    return contract.step_on(model, [sample(index, count) for index, count in enumerate(people)], share)


@pytest.mark.parametrize("people", [[2, 1, 3, 2], [0, 0, 1, 2]])
def test_denoising_in_two_processes_is_that_of_one(people: list[int]) -> None:
    """Queries that fill up an image with fewer persons are not seen, so the joined batch changes nothing."""
    whole = denoised_step(people, share=False)
    first, second = in_processes(denoised_step, 2, people, True)
    contract.shares_are_the_whole(whole, first, second)


def test_poses_come_back_in_the_original_image() -> None:
    small, _ = contract.poses_are_in_the_original_image(varied(tiny()))
    assert small.pred_keypoints.shape == (6, 17, 3)
    assert (small.pred_keypoints[..., 2] == 1).all()
    assert (small.scores.diff() <= 0).all()
    points = small.pred_keypoints[..., :2]
    assert_close(small.pred_boxes.tensor, torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1))


def test_official_results() -> None:
    """A query may be there twice, once for each class; the class that never occurs in training is 1."""
    model = varied(tiny(config=OFFICIAL))
    result = contract.detections(model, [sample(0, 1)])[0]
    assert len(result) == 12
    assert sorted(result.pred_classes.tolist()) == [0] * 6 + [1] * 6
    assert_close(result.pred_keypoints[..., 2], torch.tensor(1.0).sigmoid().expand(12, 17))


def test_an_image_has_no_more_poses_than_the_configuration_says() -> None:
    model = varied(tiny("TEST.DETECTIONS_PER_IMAGE", 4))
    assert len(contract.detections(model, [sample(0, 1)])[0]) == 4


def test_tiny_images_have_fewer_queries() -> None:
    model = varied(model_of("more queries than cells"))
    result = contract.detections(model, [sample(0, 0, (20, 33))])[0]
    assert 0 < len(result) <= 50
    assert result.pred_keypoints.isfinite().all()


def test_poses_are_shifted_as_configured() -> None:
    assert tiny(config=OFFICIAL).shift == 0
    assert tiny("MODEL.GROUPPOSE.SHIFT", 0.5, config=OFFICIAL).shift == 0.5


@pytest.mark.parametrize("variant", ["paper", "official", "denoising"])
@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, variant: str, tmp_path: Path) -> None:
    overrides, config = VARIANTS[variant]
    contract.other_keypoints_train_and_predict(
        tiny, nn.Module.eval, num_keypoints, tmp_path, *overrides, config=config
    )


@pytest.mark.parametrize("variant", ["paper", "official", "varifocal", "denoising"])
def test_half_precision_trains_and_predicts(variant: str) -> None:
    contract.half_precision_of_images(model_of(variant), nn.Module.eval)


def test_a_few_steps_lower_the_losses() -> None:
    model = tiny()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    left = contract.losses_after(model, [sample(3, 2)], 20, optimizer)
    for name in ("loss_class", "loss_keypoint", "loss_oks", "loss_keypoint_proposals"):
        assert left[name] < 0.9, (name, left)


def test_a_swin_has_as_many_parameters_as_the_official_model() -> None:
    model = build("Swin_T.yaml", "MODEL.GROUPPOSE.CLASSES", "official")
    assert sum(parameter.numel() for parameter in model.parameters()) == 49_861_430


def test_maps_that_the_backbone_does_not_have_name_the_key() -> None:
    with pytest.raises(ValueError, match=r"MODEL.GROUPPOSE.IN_FEATURES must hold only 'res3', .*'p5'"):
        tiny("MODEL.GROUPPOSE.IN_FEATURES", ["res3", "p5"])


def test_costs_that_need_more_than_keypoints_are_no_option() -> None:
    with pytest.raises(ValueError, match=r"LOSSES must hold pairs of a cost \(keypoint, oks, relative_oks\)"):
        tiny("MODEL.GROUPPOSE.LOSSES", [["center", 1.0]])
