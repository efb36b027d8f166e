"""Targets, losses and gradients of a training step on two images, against those of the official code."""

from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints
from helpers.fcpose_oracle import Case
from torch import Tensor

from fcpose.auxiliary import auxiliary_targets
from fcpose.convert_weights import convert
from fcpose.sampling import sample_positives
from posecore.modeling.fcos.locations import SelectedLocations
from posecore.modeling.fcos.targets import assign, box_to_ltrb, centerness, gather_positives

SIZE = (256, 320)
LOSSES = {
    "loss_cls": "loss_fcos_cls",
    "loss_box": "loss_fcos_loc",
    "loss_centerness": "loss_fcos_ctr",
    "loss_heatmap": "loss_keypoint",
    "loss_offset": "loss_direction",
    "loss_auxiliary_fine": "p1_loss",
    "loss_auxiliary_coarse": "p3_loss",
}


@pytest.fixture(scope="module")
def case(shared: Path) -> Case:
    return Case(shared, "case_a", "train_outputs")


def people(case: Case, image: int) -> Instances:
    boxes = case.inputs[f"boxes_{image}"]
    return Instances(
        SIZE,
        gt_boxes=Boxes(boxes),
        gt_classes=torch.zeros(len(boxes), dtype=torch.int64),
        gt_keypoints=Keypoints(case.inputs[f"keypoints_{image}"]),
    )


@pytest.fixture(scope="module")
def step(case: Case) -> dict:
    """One forward and backward pass, and the positives."""
    model = case.model().train()
    inputs = [
        {
            "image": case.uniform(f"fcpose/case_a/train_image_{i}", (3, *SIZE), 0, 255),
            "instances": people(case, i),
        }
        for i in range(2)
    ]
    losses = model(inputs)
    sum(losses.values()).backward()
    statistics = model.shared_branch.basis.tower[1]
    averages = statistics.running_mean.clone(), statistics.running_var.clone()
    with torch.no_grad():
        features = model.backbone(model.preprocess(inputs).tensor)
        predictions = model.detector(features)
        locations = predictions.locations
        shared = model.shared_branch(features)
        targets = [x["instances"] for x in inputs]
        matched = torch.stack(
            [
                assign(locations, x.gt_boxes.tensor, radius=1.5, size_ranges=(64, 128, 256, 512))
                for x in targets
            ]
        )
        positives = gather_positives(matched, locations, targets, 17)
        at = positives.locations.images, positives.locations.index
        confidence = [predictions.maps[name][at][:, 0].sigmoid() for name in ("cls", "centerness")]
        sample = sample_positives(positives.persons, confidence[0] * confidence[1], limit=70)
        auxiliary = model.auxiliary(shared.merged)
    return locals()


def test_losses(case: Case, step: dict) -> None:
    assert step["losses"].keys() == LOSSES.keys()
    for ours, official in LOSSES.items():
        case.check(f"loss/{official}", step["losses"][ours])
    case.check("loss/total", sum(step["losses"].values()))


def test_auxiliary_targets(case: Case) -> None:
    keypoints = [case.inputs[f"keypoints_{i}"] for i in range(2)]
    targets = auxiliary_targets(keypoints, (32, 40), 8)
    for image in range(2):
        for target, stored in ((targets.fine, "p1_target"), (targets.coarse, "p3_target")):
            expected = case.inputs[f"{stored}_{image}"]
            torch.testing.assert_close(target[image], expected, atol=1e-6, rtol=1e-6)


def test_positives(case: Case, step: dict) -> None:
    positives, locations, golden = step["positives"], step["locations"], case.golden
    # In the official code positives are sorted by level, then by image.
    levels = locations.levels[positives.locations.index]
    order = (levels * 2 + positives.locations.images).argsort(stable=True)
    case.check("pos_levels", levels[order])
    case.check("pos_im_inds", positives.locations.images[order])
    case.check("pos_gt_inds", positives.persons[order])
    case.check("pos_locations", positives.points[order])
    ltrb = box_to_ltrb(positives.points, positives.boxes)
    case.check("pos_reg_targets", (ltrb / positives.strides[:, None])[order])
    case.check("pos_ctr_targets", centerness(ltrb)[order])
    for official, ours in (("cls_logits", "cls"), ("reg_pred", "ltrb"), ("ctr_logits", "centerness")):
        values = step["predictions"].maps[ours][step["at"]][order]
        values = values.relu() if ours == "ltrb" else values
        case.check(f"pos_{official}", values.reshape(golden[f"pos_{official}"].shape))


def in_their_order(case: Case, step: dict) -> Tensor:
    """For each sampled positive of the official code, its position in our sample."""
    positives, index = step["positives"], step["sample"].index
    ours = {
        (*positives.points[i].tolist(), positives.persons[i].item()): position
        for position, i in enumerate(index.tolist())
    }
    official = zip(case.golden["sel_locations"].tolist(), case.golden["sel_gt_inds"].tolist(), strict=True)
    return torch.tensor([ours[(*point, person)] for point, person in official])


def test_sampled_positives(case: Case, step: dict) -> None:
    order, sample, positives = in_their_order(case, step), step["sample"], step["positives"]
    assert len(order) == len(sample.index) == len(order.unique())
    index = sample.index[order]
    case.check("sel_im_inds", positives.locations.images[index])
    case.check("sel_gt_inds", positives.persons[index])
    case.check("sel_levels", step["locations"].levels[positives.locations.index[index]])
    case.check("sel_num_loss", (1 / sample.weights[order]).round().int())


def test_heads_in_training(case: Case, step: dict) -> None:
    order, model, positives = in_their_order(case, step), step["model"], step["positives"]
    index = step["sample"].index[order]
    selected = SelectedLocations(positives.locations.images[index], positives.locations.index[index])
    heads = model.keypoint_head.generate(step["predictions"].towers["box"], step["locations"], selected)
    case.check("controller_params_slice", heads.parameters[:, ::16])
    maps = torch.cat(
        [
            model.keypoint_head(bases, heads[selected.images == i])
            for i, bases in enumerate(step["shared"].bases)
        ]
    )
    case.check("heatmap_logits", maps[:2])
    case.check("heatmap_logits_mean", maps.mean(dim=(2, 3)))
    case.check("p3_logits", step["auxiliary"].coarse[:, :, ::2, ::2])
    case.check("p1_logits", step["auxiliary"].fine[:, ::4, ::4, ::4])
    case.check("bn_running_mean_after", step["averages"][0])
    case.check("bn_running_var_after", step["averages"][1])


def test_gradients(case: Case, step: dict) -> None:
    parameters = dict(step["model"].named_parameters())
    # Some official tensors are parts of one tensor here, or the other way round.
    gradients = {name: parameter.grad for name, parameter in parameters.items() if parameter.requires_grad}
    controller = gradients["keypoint_head.controller.weight"].flatten(1)
    scales = gradients["detector.head.predictions.ltrb.scales"]
    last = {
        leaf: torch.cat([gradients[f"shared_branch.{part}.{leaf}"] for part in ("bases", "offsets.conv")])
        for leaf in ("weight", "bias")
    }
    case.check("grad/proposal_generator.fcpose_head.atten_producer.weight", controller[::171, ::97])
    for leaf, part in (("weight", last["weight"][:, ::8]), ("bias", last["bias"])):
        case.check(f"grad/proposal_generator.basis_module.tower.4.{leaf}", part)
    for level in (0, 2):
        case.check(f"grad/proposal_generator.fcos.fcos_head.scales.{level}.scale", scales[level : level + 1])
    for official, ours in {
        "proposal_generator.fcpose_head.atten_producer.bias": "keypoint_head.controller.bias",
        "proposal_generator.basis_module.p1_logits.bias": "auxiliary.fine.bias",
        "proposal_generator.basis_module.p3_logits.bias": "auxiliary.coarse.bias",
        "proposal_generator.fcos.fcos_head.cls_logits.bias": "detector.head.predictions.cls.conv.bias",
        "proposal_generator.fcos.fcos_head.bbox_pred.bias": "detector.head.predictions.ltrb.conv.bias",
        "proposal_generator.fcos.fcos_head.ctrness.bias": "detector.head.predictions.centerness.conv.bias",
        "backbone.fpn_output3.bias": "backbone.fpn_output3.bias",
        "backbone.top_block.p7.bias": "backbone.top_block.p7.bias",
    }.items():
        case.check(f"grad/{official}", gradients[ours])
    upsample = gradients["auxiliary.upsample.weight"][::29, ::32]
    case.check("grad/proposal_generator.basis_module.upsampler.0.weight", upsample)

    # All other parameters are the same tensors in both codes; the norms of their gradients are compared.
    ours = {id(tensor): name for name, tensor in convert(case.state).items()}
    compared = 0
    for official, norm in zip(case.facts["grad_names"], case.golden["grad_norms"].tolist(), strict=True):
        if name := ours.get(id(case.state[official])):
            tolerance = case.about["grad_norms"]["rtol_f32"]
            assert gradients[name].norm().item() == pytest.approx(norm, rel=tolerance, abs=1e-6), official
            compared += 1
    assert compared == len(case.facts["grad_names"]) - 5 - 3  # scales, the tower's last layer, the controller
