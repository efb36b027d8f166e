"""Trainings that are interrupted, stopped by a signal or resumed, of a toy model on drawn images."""

import json
import logging
import math
import os
import signal
import time

import pytest
import torch
from detectron2.utils import comm
from helpers.processes import in_processes
from helpers.toy_training import AUGMENTED, equal, lines, prepare, toy_cfg, weights

from posecore.checkpoint.weights import CheckpointError
from posecore.data.synthetic import make_dataset
from posecore.engine.signals import Stopped


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        AUGMENTED,
        (*AUGMENTED, "DATALOADER.NUM_WORKERS", 2),
        ("INPUT.RANDOM_FLIP", "horizontal", "DATALOADER.NUM_WORKERS", 2),
        ("SOLVER.OPTIMIZER", "ADAMW"),
        ("SEED", -1),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(dataset, tmp_path, overrides):
    """The same weights to the last bit: images, schedule, momentum and random numbers go on."""
    cfg = toy_cfg(dataset, tmp_path / "parted", *overrides)
    first = prepare(cfg)
    first.max_iter = 4
    first.train()
    second = prepare(cfg, resume=True, seed=99)
    assert second.start_iter == 4
    second.train()

    whole = prepare(toy_cfg(dataset, tmp_path / "whole", *overrides))
    # Without a seed of the configuration's the order is drawn when the trainer is built.
    whole._order_seed = first._order_seed
    whole.train()
    assert equal(weights(second), weights(whole))
    assert not equal(weights(first), weights(whole))


def test_resuming_without_a_checkpoint_starts_from_the_weights(dataset, tmp_path):
    start = weights(prepare(toy_cfg(dataset, tmp_path), seed=5))
    torch.save(start, tmp_path / "start.pth")
    trainer = prepare(toy_cfg(dataset, tmp_path, "MODEL.WEIGHTS", str(tmp_path / "start.pth")), resume=True)
    assert trainer.start_iter == 0
    assert equal(weights(trainer), start)


def test_resuming_a_finished_training_only_evaluates(dataset, tmp_path):
    cfg = toy_cfg(dataset, tmp_path)
    done = prepare(cfg)
    done.train()
    (tmp_path / "metrics.json").unlink()
    again = prepare(cfg, resume=True)
    results = again.train()
    assert again.start_iter == 8
    assert equal(weights(done), weights(again))
    assert lines(tmp_path)[-1]["keypoints/AP"] == results["keypoints"]["AP"]


def test_a_longer_schedule_goes_on_from_a_shorter_one(dataset, tmp_path):
    prepare(toy_cfg(dataset, tmp_path)).train()
    longer = prepare(toy_cfg(dataset, tmp_path, "SOLVER.MAX_ITER", 12), resume=True)
    longer.train()
    assert torch.load(tmp_path / "model_final.pth")["iteration"] == 11


def test_metrics_of_another_training_are_set_aside(dataset, tmp_path):
    for _ in range(3):
        prepare(toy_cfg(dataset, tmp_path)).train()
    assert [line["iteration"] for line in lines(tmp_path)] == [7, 8]
    assert (tmp_path / "metrics.1.json").exists()
    assert (tmp_path / "metrics.2.json").exists()


@pytest.mark.parametrize("optimizer", ["SGD", "ADAMW"])
def test_a_resumed_training_has_the_settings_of_its_configuration(dataset, tmp_path, optimizer):
    base = ("SOLVER.OPTIMIZER", optimizer)
    first = prepare(toy_cfg(dataset, tmp_path, *base))
    first.max_iter = 4
    first.train()
    changed = (*base, "SOLVER.BASE_LR", 0.02, "SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.MOMENTUM", 0.3)
    second = prepare(toy_cfg(dataset, tmp_path, *changed), resume=True)
    (group,) = second.optimizer.param_groups
    assert group["lr"] == pytest.approx(0.02)
    assert group["weight_decay"] == 0.5
    assert group.get("momentum", 0.3) == 0.3
    second.train()
    assert group["lr"] == pytest.approx(0.002)
    assert second.scheduler.base_lrs == [0.02]


def test_another_optimizer_is_refused(dataset, tmp_path):
    prepare(toy_cfg(dataset, tmp_path)).train()
    with pytest.raises(CheckpointError, match=r"another SOLVER.OPTIMIZER"):
        prepare(toy_cfg(dataset, tmp_path, "SOLVER.OPTIMIZER", "ADAMW"), resume=True)


def test_other_samples_and_a_shorter_training_are_said(dataset, tmp_path, caplog):
    prepare(toy_cfg(dataset, tmp_path / "out")).train()
    other = make_dataset(tmp_path, num_images=6, size=(48, 64), name="other")
    with caplog.at_level(logging.WARNING, logger="posecore"):
        prepare(toy_cfg(dataset, tmp_path / "out"), resume=True)
    assert "other samples" not in caplog.text
    cfg = toy_cfg(other, tmp_path / "out", "DATASETS.TRAIN", ("other_train",), "DATASETS.TEST", ())
    cfg.SOLVER.MAX_ITER = 7
    with caplog.at_level(logging.WARNING, logger="posecore"):
        prepare(cfg, resume=True)
    assert "was trained with other samples (8 samples" in caplog.text
    assert "has 8 iterations, more than SOLVER.MAX_ITER 7" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iteration": "three"}, "not the checkpoint of a training"),
        ({"iteration": -5}, "not the checkpoint of a training"),
        ({"iteration": True}, "not the checkpoint of a training"),
        ({"order_seed": None}, "not the checkpoint of a training"),
        ({"order_seed": 2**64}, "not the checkpoint of a training"),
        ({"random": None}, "not the checkpoint of a training"),
        ({"random": ["text"]}, "random states are broken"),
        ({"random": [{}]}, "random states are broken"),
        ({"scheduler": {"base_lrs": [0.1], "last_epoch": "x"}}, "last_epoch must be a number"),
        ({"scheduler": {"base_lrs": [math.nan], "last_epoch": 8}}, "is nan"),
        ({"scheduler": {"base_lrs": [0.1, 0.2], "last_epoch": 8}}, "must have 1 values"),
        ({"scheduler": {"base_lrs": [0.1], "last_epoch": 8, "step": 1}}, "must have the keys"),
    ],
)
def test_states_that_no_training_has_are_refused(dataset, tmp_path, change, message):
    prepare(toy_cfg(dataset, tmp_path)).train()
    content = torch.load(tmp_path / "model_final.pth")
    torch.save(content | change, tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=message):
        prepare(toy_cfg(dataset, tmp_path), resume=True)


def signal_after(trainer, iteration, number):
    """Sends a signal to this process in the step of an iteration."""
    step = trainer.step

    def signaled(batch):
        if trainer.iter == iteration:
            os.kill(os.getpid(), number)
        return step(batch)

    signaled.model = step.model
    trainer.step = signaled


@pytest.mark.parametrize(
    ("number", "iteration", "name"),
    [
        (signal.SIGTERM, 1, "model_0000001"),
        (signal.SIGINT, 3, "model_0000003"),
        (signal.SIGTERM, 7, "model_final"),
    ],
)
def test_a_signal_saves_and_stops(dataset, tmp_path, caplog, number, iteration, name):
    cfg = toy_cfg(
        dataset, tmp_path / "parted", "INPUT.RANDOM_FLIP", "horizontal", "DATALOADER.NUM_WORKERS", 1
    )
    trainer = prepare(cfg)
    signal_after(trainer, iteration, number)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with caplog.at_level(logging.WARNING, logger="posecore"), pytest.raises(Stopped) as stopped:
        trainer.train()
    assert stopped.value.code == 128 + number
    assert f"{number.name}: stopped after iteration {iteration}; {name}.pth is saved" in caplog.text
    assert trainer.checkpointer.get_checkpoint_file().endswith(f"{name}.pth")
    assert handlers == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert not (tmp_path / "parted" / "inference").exists()
    resumed = prepare(cfg, resume=True, seed=99)
    resumed.train()
    cfg = toy_cfg(dataset, tmp_path / "whole", "INPUT.RANDOM_FLIP", "horizontal")
    whole = prepare(cfg)
    whole.train()
    assert equal(weights(resumed), weights(whole))


def test_a_signal_in_an_evaluation_saves_and_stops_at_once(dataset, tmp_path):
    cfg = toy_cfg(dataset, tmp_path, "TEST.EVAL_PERIOD", 3)
    trainer = prepare(cfg)

    def evaluate():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        raise AssertionError("the evaluation went on")

    trainer._evaluate = evaluate
    with pytest.raises(Stopped):
        trainer.train()
    assert trainer.checkpointer.get_checkpoint_file().endswith("model_0000002.pth")
    assert prepare(cfg, resume=True).start_iter == 3


def train_in_processes(dataset, output):
    """Trains, goes on, and tries to go on from where only the first process sees a checkpoint."""
    results = prepare(toy_cfg(dataset, f"{output}/0")).train()
    longer = prepare(toy_cfg(dataset, f"{output}/0", "SOLVER.MAX_ITER", 10), resume=True)
    start = longer.start_iter
    longer.train()
    try:
        prepare(toy_cfg(dataset, f"{output}/{comm.get_rank()}"), resume=True)
    except RuntimeError as error:
        return results, start, weights(longer), str(error)


def test_two_processes_train_evaluate_and_resume(dataset, tmp_path):
    first, second = in_processes(train_in_processes, 2, str(dataset), str(tmp_path))
    assert first[0]["keypoints"].keys() >= {"AP", "AR"}
    assert second[0] == {}
    assert first[1] == second[1] == 8
    assert equal(first[2], second[2])
    assert "keypoints/AP" in lines(tmp_path / "0")[-1]
    file = tmp_path / "0" / "inference" / "toy_train" / "coco_instances_results.json"
    assert sorted(result["image_id"] for result in json.loads(file.read_text())) == list(range(1, 9))
    for _, _, _, message in (first, second):
        assert "would begin with iterations [10, 0]: OUTPUT_DIR" in message


def test_a_cut_line_of_metrics_costs_nothing(dataset, tmp_path, caplog):
    """As a power cut or a full disk leaves it; the line is ended, and the plot leaves it out."""
    first = prepare(toy_cfg(dataset, tmp_path))
    first.max_iter = 4
    first.train()
    metrics = tmp_path / "metrics.json"
    metrics.write_bytes(metrics.read_bytes()[:-20])
    results = prepare(toy_cfg(dataset, tmp_path), resume=True).train()
    assert "keypoints" in results
    assert (tmp_path / "curves.png").exists()
    assert json.loads(metrics.read_text().splitlines()[-1])["iteration"] == 8
    assert "lines are broken and left out" in caplog.text
