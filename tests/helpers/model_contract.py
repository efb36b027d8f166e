"""The contract of all models that read whole images, as functions that the tests of each method call."""

import copy
import importlib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from helpers.image_samples import sample
from helpers.processes import in_processes
from posecore.engine.validation import mean_losses

STAR = {
    "name": "star",
    "keypoints": ["head", "left_hand", "right_hand", "left_foot", "right_foot"],
    "flip_pairs": [["left_hand", "right_hand"], ["left_foot", "right_foot"]],
    "limbs": [["head", tip] for tip in ("left_hand", "right_hand", "left_foot", "right_foot")],
    "sigmas": [0.05] * 5,
    "groups": [["head"], ["left_hand", "right_hand"], ["left_foot", "right_foot"]],
}


def skeleton_of(num_keypoints: int, folder: Path) -> str:
    """The value of DATASETS.SKELETON for 5 keypoints (a file written to the folder) or 133 (shipped)."""
    if num_keypoints == 133:
        return "coco_wholebody_133"
    assert num_keypoints == len(STAR["keypoints"])
    file = folder / "star.yaml"
    file.write_text(yaml.safe_dump(STAR))
    return str(file)


def detections(model: nn.Module, batch: list[dict]) -> list[Instances]:
    """The detections of a model in evaluation mode."""
    with torch.no_grad():
        return [result["instances"] for result in model(batch)]


def steps_are_sound(model: nn.Module) -> set[str]:
    """Training steps with any number of persons have the same finite losses, and reach all parameters.

    Returns:
        The names of the losses.
    """
    model.train()
    keys = None
    for counts in ([2, 0, 1], [0], [0, 0], [5]):
        losses = model([sample(i, count, (96 - 7 * i, 101)) for i, count in enumerate(counts)])
        assert keys in (None, list(losses))
        keys = list(losses)
        assert all(loss.isfinite() for loss in losses.values())
        model.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert without == []
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    return set(keys)


def hard_persons_leave_everything_finite(model: nn.Module) -> None:
    """Losses and gradients are finite for unusual persons.

    These are a person of one pixel, one without area, one with unlabeled NaN keypoints, and one with
    keypoints on the border of the image.
    """
    inputs = sample(0, 5, (96, 128))
    people = inputs["instances"]
    people.gt_boxes.tensor[0] = torch.tensor([20.0, 20.0, 21.0, 21.0])
    people.gt_boxes.tensor[1] = torch.tensor([30.0, 30.0, 30.0, 30.0])
    people.gt_keypoints.tensor[2, :, 2] = 0
    people.gt_keypoints.tensor[2, :, :2] = float("nan")
    people.gt_keypoints.tensor[3] = torch.tensor([128.0, 96.0, 2.0])
    losses = model.train()([inputs])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def losses_after(
    model: nn.Module, batch: list[dict], steps: int, optimizer: torch.optim.Optimizer
) -> dict[str, float]:
    """The ratio of each loss after a number of steps on a batch to the loss at the first step."""
    model.train()
    history = []
    for _ in range(steps):
        losses = model(batch)
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    return {name: history[-1][name] / first for name, first in history[0].items()}


def batches_are_their_images(model: nn.Module, batch: list[dict], count: int) -> None:
    """The detections of a batch, ``count`` per image, equal those of its images one by one."""
    alone = [detections(model, [inputs])[0] for inputs in batch]
    for ours, own in zip(detections(model, batch), alone, strict=True):
        assert len(ours) == count
        assert_close(ours.scores, own.scores)
        assert_close(ours.pred_keypoints, own.pred_keypoints, atol=1e-3, rtol=1e-4)
        assert_close(ours.pred_boxes.tensor, own.pred_boxes.tensor, atol=1e-3, rtol=1e-4)


def poses_are_in_the_original_image(model: nn.Module) -> tuple[Instances, Instances]:
    """Detections are in pixels of the original image.

    Returns:
        The detections of an image of 90 x 121, and of the same image resized from 180 x 363.
    """
    inputs = sample(0, 1, (90, 121))
    small = detections(model, [inputs])[0]
    large = detections(model, [inputs | {"height": 180, "width": 363}])[0]
    assert large.image_size == (180, 363)
    assert len(small)
    assert_close(large.pred_keypoints, small.pred_keypoints * torch.tensor([3.0, 2.0, 1.0]))
    assert_close(large.pred_boxes.tensor, small.pred_boxes.tensor * torch.tensor([3.0, 2.0, 3.0, 2.0]))
    assert large.pred_classes.unique().tolist() == [0]
    return small, large


def every_location_is_a_candidate(model: nn.Module) -> None:
    """Sets a model with FCOS so that it keeps the 20 best locations, whatever their scores."""
    model.detector.inference_settings = replace(
        model.detector.inference_settings, score_thresh=0.0, nms_thresh=0.9, max_detections=20
    )


def trains_and_predicts(
    model: nn.Module, awake: Callable[[nn.Module], nn.Module], labeled: list[dict], inputs: dict
) -> Instances:
    """Takes a training step, and returns the detections in one image.

    Args:
        model: the model.
        awake: returns the model in evaluation mode, with settings that give it detections.
        labeled: samples of the training step.
        inputs: the image of the detections.
    """
    sum(model.train()(labeled).values()).backward()
    return detections(awake(model), [inputs])[0]


def other_keypoints_train_and_predict(
    tiny: Callable[..., nn.Module],
    awake: Callable[[nn.Module], nn.Module],
    num_keypoints: int,
    folder: Path,
    *overrides: Any,
    config: str,
) -> Instances:
    """A model of another number of keypoints takes a training step, and finds poses with that many.

    Args:
        tiny: makes the model from KEY, VALUE, ... and a configuration.
        awake: as in :func:`trains_and_predicts`.
        num_keypoints: 5 or 133.
        folder: for the file of the skeleton.
        overrides, config: further arguments of ``tiny``.
    """
    model = tiny(*overrides, "DATASETS.SKELETON", skeleton_of(num_keypoints, folder), config=config)
    labeled = sample(0, 2, num_keypoints=num_keypoints)
    result = trains_and_predicts(model, awake, [labeled], sample(0, 1))
    assert result.pred_keypoints.shape[1:] == (num_keypoints, 3)
    return result


def half_precision_of_images(model: nn.Module, awake: Callable[[nn.Module], nn.Module]) -> None:
    """:func:`half_precision_trains_and_predicts` on images with persons and without."""
    half_precision_trains_and_predicts(model, awake, [sample(0, 2), sample(1, 0)], sample(0, 2))


def half_precision_trains_and_predicts(
    model: nn.Module, awake: Callable[[nn.Module], nn.Module], labeled: list[dict], inputs: dict
) -> None:
    """Under autocast losses and poses are in full precision, and they and the gradients are finite.

    Arguments as in :func:`trains_and_predicts`.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.train()(labeled)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = detections(awake(model), [inputs])[0]
    assert len(result)
    assert result.pred_keypoints.dtype == torch.float32
    assert result.pred_keypoints.isfinite().all()


def nobody_is_found(model: nn.Module) -> None:
    """A model with FCOS returns empty detections for images without candidates."""
    model.detector.inference_settings = replace(model.detector.inference_settings, score_thresh=1.0)
    none = detections(model.eval(), [sample(0, 1), sample(1, 1)])
    assert [one.pred_keypoints.shape for one in none] == [(0, 17, 3), (0, 17, 3)]
    assert none[0].pred_boxes.tensor.shape == (0, 4)


def losses_are_looked_at(model: nn.Module, batch: list[dict]) -> None:
    """Validation losses are the same each time, and computing them does not change the model."""
    model.train()
    before = copy.deepcopy(model.state_dict())
    losses = mean_losses(model, [batch])
    assert all(math.isfinite(loss) for loss in losses.values())
    assert losses == mean_losses(model, [batch])
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def inputs_stay(model: nn.Module) -> None:
    """Neither training nor evaluation modifies the inputs."""
    batch = [sample(0, 2), sample(1, 0)]
    before = copy.deepcopy(batch)
    model.train()(batch)
    detections(model.eval(), batch)
    for now, then in zip(batch, before, strict=True):
        assert now.keys() == then.keys()
        assert torch.equal(now["image"], then["image"])
        assert torch.equal(now["instances"].gt_boxes.tensor, then["instances"].gt_boxes.tensor)
        assert torch.equal(now["instances"].gt_keypoints.tensor, then["instances"].gt_keypoints.tensor)


def hard_images() -> list[dict]:
    """Images that are hard to train on.

    They have many persons, persons of one pixel, persons without labeled keypoints, keypoints on the border,
    and no persons.
    """
    crowd, dots, hidden, border, empty = (sample(i, n) for i, n in enumerate((40, 6, 4, 3, 0)))
    people = dots["instances"]
    people.gt_boxes.tensor[:, 2:] = people.gt_boxes.tensor[:, :2] + 1
    people.gt_keypoints.tensor[..., :2] = people.gt_boxes.tensor[:, None, :2] + 0.5
    hidden["instances"].gt_keypoints.tensor[..., 2] = 0
    border["instances"].gt_keypoints.tensor[..., :2] = torch.tensor([128.0, 96.0])
    return [crowd, dots, hidden, border, empty]


def hard_images_train_in_half_precision(
    model: nn.Module, *, lr: float, clip: Callable[[list[nn.Parameter]], Any]
) -> None:
    """All losses and gradients stay finite in half precision on hard images.

    Args:
        model: the model.
        lr: learning rate of its configuration.
        clip: clips the gradients of parameters as in its configuration.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=1e-4)
    trains_in_half_precision(model, hard_images(), optimizer, clip)


def trains_in_half_precision(
    model: nn.Module,
    samples: list[dict],
    optimizer: torch.optim.Optimizer,
    clip: Callable[[list[nn.Parameter]], Any],
) -> None:
    """All losses and gradients stay finite in half precision, in 15 or $POSECORE_HARD_STEPS steps.

    Args:
        model: the model.
        samples: samples of which each step takes a pair.
        optimizer: optimizer of the parameters.
        clip: clips the gradients of parameters.
    """
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    for step in range(int(os.environ.get("POSECORE_HARD_STEPS", "15"))):
        batch = [samples[step % len(samples)], samples[(2 * step + 1) % len(samples)]]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = model(batch)
        assert all(loss.isfinite() for loss in losses.values()), f"step {step}: {losses}"
        optimizer.zero_grad()
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in parameters), f"step {step}"
        clip(parameters)
        optimizer.step()


def step(oracle: str, overrides: tuple, people: list[int], share: bool) -> dict[str, dict[str, Any]]:
    """Losses and gradients of one step on made-up images.

    Args:
        oracle: name of the module whose ``tiny(*overrides)`` makes the model.
        overrides: overrides of the configuration.
        people: number of persons of each image.
        share: whether the step is on this process's share of the images instead of all.
    """
    torch.manual_seed(0)
    model = importlib.import_module(oracle).tiny(*overrides).train()
    return step_on(model, [sample(index, count) for index, count in enumerate(people)], share)


def step_on(model: nn.Module, batch: list[dict], share: bool) -> dict[str, dict[str, Any]]:
    """Losses and gradients of one step of a model on a batch, or on this process's share of the batch."""
    if share:
        half = len(batch) // comm.get_world_size()
        batch = batch[comm.get_rank() * half :][:half]
        # The wrapper needs a name: gradients are reduced only as long as it exists.
        wrapped = DistributedDataParallel(model)
        losses = wrapped(batch)
    else:
        losses = model(batch)
    sum(losses.values()).backward()
    return {
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
    }


def two_processes_are_one(oracle: str, overrides: tuple, people: list[int]) -> None:
    """A step of two processes equals the step of one process on the joined batch."""
    whole = step(oracle, overrides, people, share=False)
    first, second = in_processes(step, 2, oracle, overrides, people, True)
    shares_are_the_whole(whole, first, second)


def shares_are_the_whole(whole: dict, first: dict, second: dict, tolerance: float = 1e-5) -> None:
    """The results of :func:`step_on` on two shares of a batch equal that on the whole batch.

    Args:
        whole: result on the batch.
        first: result of the first process.
        second: result of the second process.
        tolerance: relative tolerance of losses, and of gradients relative to their largest value.
    """
    for name, loss in whole["losses"].items():
        mean = (first["losses"][name] + second["losses"][name]) / 2
        assert mean == pytest.approx(loss, rel=tolerance, abs=1e-6)
    assert first["gradients"].keys() == whole["gradients"].keys()
    for name, gradient in whole["gradients"].items():
        atol = tolerance * max(gradient.abs().max().item(), 1e-3)
        assert_close(first["gradients"][name], gradient, rtol=tolerance, atol=atol)
        assert torch.equal(first["gradients"][name], second["gradients"][name])
