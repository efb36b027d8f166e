"""Whole trainings of a toy model on drawn images: what they leave behind, and how they go on."""

import json
import logging
import math
import os
import signal
import time

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from helpers import toy_model  # noqa: F401  (registers the model)
from helpers.configs import override_list
from helpers.processes import in_processes
from helpers.support import core_cfg

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.weights import CheckpointError
from posecore.data.synthetic import make_dataset
from posecore.engine.signals import Stopped
from posecore.engine.trainer import Trainer
from posecore.env import TrainingRecord
from posecore.inference.predictor import Predictor


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A definition of eight small images."""
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=8, size=(48, 64), name="toy")


def toy_cfg(dataset, output, *overrides):
    """Eight iterations of two images; nothing random but the order."""
    cfg = core_cfg(
        *override_list(
            {
                "MODEL.META_ARCHITECTURE": "ToyPose",
                "OUTPUT_DIR": str(output),
                "SEED": 1,
                "DATASETS.DEFINITIONS": (str(dataset),),
                "DATASETS.TRAIN": ("toy_train",),
                "DATASETS.TEST": ("toy_train",),
                "INPUT.RANDOM_FLIP": "none",
                "INPUT.MIN_SIZE_TRAIN": (48,),
                "INPUT.MIN_SIZE_TEST": 48,
                "DATALOADER.NUM_WORKERS": 0,
                "SOLVER.MAX_ITER": 8,
                "SOLVER.IMS_PER_BATCH": 2,
                "SOLVER.BASE_LR": 0.1,
                "SOLVER.WARMUP_ITERS": 3,
                "SOLVER.STEPS": (6,),
                "SOLVER.CHECKPOINT_PERIOD": 4,
                "TEST.NUM_PREVIEWS": 2,
            }
        ),
    )
    cfg.merge_from_list(list(overrides))
    return cfg


def prepare(cfg, *, resume=False, seed=0):
    """A trainer that is ready; its model's random weights follow from the seed."""
    seed_all_rng(seed)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    return trainer


def weights(trainer):
    model = getattr(trainer.step.model, "module", trainer.step.model)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_what_a_training_leaves(dataset, tmp_path):
    results = prepare(toy_cfg(dataset, tmp_path, "TEST.EVAL_PERIOD", 4)).train()

    *steps, last = lines(tmp_path)
    assert last["keypoints/AP"] == results["keypoints"]["AP"]
    assert last["iteration"] == 8
    (losses,) = [line for line in steps if line["iteration"] == 7]
    assert {"total_loss", "loss_points", "lr", "grad_norm", "data_time"} <= losses.keys()
    assert [line["iteration"] for line in steps if "keypoints/AP" in line] == [3]

    files = {path.name for path in tmp_path.iterdir()}
    assert {"model_0000003.pth", "model_final.pth", "last_checkpoint", "curves.png", "previews.png"} <= files
    assert any(name.startswith("events.out.tfevents") for name in files)
    assert not any(name.endswith(".part") for name in files)
    results_file = tmp_path / "inference" / "toy_train" / "coco_instances_results.json"
    assert len(json.loads(results_file.read_text())) == 8

    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 7
    assert {"model", "optimizer", "scheduler"} <= saved.keys()
    record = TrainingRecord.read(saved, "model_final.pth")
    assert "META_ARCHITECTURE: ToyPose" in record.config
    assert record.versions["torch"] == torch.__version__
    assert len(record.skeleton["keypoints"]) == 17
    model = build_model(toy_cfg(dataset, tmp_path))
    PoseCheckpointer(model).load(str(tmp_path / "model_final.pth"))
    again = Trainer.test(toy_cfg(dataset, tmp_path), model)
    assert again["keypoints"] == pytest.approx(results["keypoints"], nan_ok=True)


def test_it_learns(tmp_path):
    """Two poses by heart; the AP is that of coordinates which went through every part and came back."""
    lonely = make_dataset(tmp_path, num_images=2, size=(48, 64), name="toy", people=(1, 1))
    cfg = toy_cfg(
        lonely,
        tmp_path / "out",
        *override_list(
            {
                "SOLVER.MAX_ITER": 300,
                "SOLVER.LR_SCHEDULER_NAME": "WarmupLinearLR",
                "SOLVER.OPTIMIZER": "ADAMW",
                "SOLVER.BASE_LR": 0.05,
                "SOLVER.CHECKPOINT_PERIOD": 0,
            }
        ),
    )
    assert prepare(cfg).train()["keypoints"]["AP"] > 80


AUGMENTED = (
    "INPUT.RANDOM_FLIP",
    "horizontal",
    "INPUT.ROTATION",
    20.0,
    "DATALOADER.ASPECT_RATIO_GROUPING",
    False,
)


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


def test_epochs(dataset, tmp_path):
    trainer = prepare(toy_cfg(dataset, tmp_path, "SOLVER.MAX_EPOCH", 3))
    assert trainer.max_iter == 12  # eight images, two at a time


def test_any_number_of_workers_trains_the_same(dataset, tmp_path):
    trained = []
    for workers in (0, 1, 2):
        cfg = toy_cfg(dataset, tmp_path / str(workers), *AUGMENTED, "DATALOADER.NUM_WORKERS", workers)
        trainer = prepare(cfg)
        trainer.train()
        trained.append(weights(trainer))
    assert equal(trained[0], trained[1])
    assert equal(trained[0], trained[2])


def train_two(dataset, output):
    trainer = prepare(toy_cfg(dataset, output, *AUGMENTED, "DATALOADER.NUM_WORKERS", 1))
    trainer.train()
    return weights(trainer)


def test_two_processes_train_as_one(dataset, tmp_path):
    """Not to the last bit, because losses are averaged in another order."""
    first, second = in_processes(train_two, 2, str(dataset), str(tmp_path / "two"))
    alone = train_two(str(dataset), str(tmp_path / "one"))
    assert equal(first, second)
    for name, weight in alone.items():
        torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)


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


def break_after(trainer, iteration, value):
    """Makes the model's weights useless before the step of an iteration."""
    step = trainer.step

    def broken(batch):
        if trainer.iter == iteration:
            trainer.step.model.regress.weight.data.fill_(value)
        return step(batch)

    broken.model = step.model
    trainer.step = broken


def test_nan_stops_the_training_and_is_not_saved(dataset, tmp_path):
    trainer = prepare(toy_cfg(dataset, tmp_path))
    break_after(trainer, 7, math.nan)
    with pytest.raises(FloatingPointError, match=r"iteration 7: .*loss_points.*nan.*\.jpg.*SOLVER.BASE_LR"):
        trainer.train()
    assert trainer.checkpointer.get_checkpoint_file().endswith("model_0000003.pth")
    assert not (tmp_path / "model_final.pth").exists()
    assert not (tmp_path / "inference").exists(), "a broken model is not evaluated"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_image_that_cannot_be_read_is_named(tmp_path, workers):
    definition = make_dataset(tmp_path, num_images=4, size=(48, 64), name="toy")
    (tmp_path / "train" / "000003.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"000003\.jpg"):
        prepare(toy_cfg(definition, tmp_path / "out", "DATALOADER.NUM_WORKERS", workers)).train()


def test_mixed_precision_on_the_cpu(dataset, tmp_path):
    for dtype in ("bfloat16", "float16"):
        cfg = toy_cfg(dataset, tmp_path / dtype, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype)
        trainer = prepare(cfg)
        assert trainer.step.scaler.is_enabled() == (dtype == "float16")
        trainer.train()
        assert prepare(cfg, resume=True).step.scaler.state_dict() == trainer.step.scaler.state_dict()
    with pytest.raises(
        ValueError, match=r"SOLVER.AMP.DTYPE must be one of 'bfloat16', 'float16', not 'half'"
    ):
        Trainer(toy_cfg(dataset, tmp_path, "SOLVER.AMP.DTYPE", "half"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TEST.TASKS", ("keypoint",), "TEST.TASKS must hold only"),
        ("TEST.COCO_BACKEND", "cocoapi", "TEST.COCO_BACKEND must be one of .*'cocoapi'"),
        ("DATASETS.TEST", ("toy_trian",), "toy_trian"),
    ],
)
def test_what_evaluation_cannot_use_shows_before_the_training(dataset, tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        Trainer(toy_cfg(dataset, tmp_path, key, value))


def test_several_test_sets(dataset, tmp_path):
    other = make_dataset(tmp_path, num_images=2, size=(48, 64), name="other")
    cfg = toy_cfg(
        dataset,
        tmp_path,
        *override_list(
            {
                "DATASETS.DEFINITIONS": (str(dataset), str(other)),
                "DATASETS.TEST": ("toy_train", "other_train"),
            }
        ),
    )
    assert Trainer.test(cfg, build_model(cfg)).keys() == {"toy_train", "other_train"}


def test_no_test_set(dataset, tmp_path):
    trainer = prepare(toy_cfg(dataset, tmp_path, "DATASETS.TEST", ()))
    assert trainer.train() == {}


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


def test_curves_that_cannot_be_plotted_cost_nothing(dataset, tmp_path, caplog):
    (tmp_path / "curves.png").mkdir()
    assert "keypoints" in prepare(toy_cfg(dataset, tmp_path)).train()
    assert "curves.png are not plotted" in caplog.text


def test_accumulation_trains_as_the_whole_batch(dataset, tmp_path):
    trained = []
    for parts in (1, 2):
        cfg = toy_cfg(dataset, tmp_path / str(parts), *AUGMENTED, "SOLVER.ACCUMULATION_STEPS", parts)
        trainer = prepare(cfg)
        trainer.train()
        trained.append(weights(trainer))
    for name, weight in trained[0].items():
        torch.testing.assert_close(trained[1][name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parts", [0, 4])
def test_accumulation_must_divide_the_batch_of_a_process(dataset, tmp_path, parts):
    with pytest.raises(ValueError, match=r"SOLVER.ACCUMULATION_STEPS must .* divide the 2 samples.*not "):
        Trainer(toy_cfg(dataset, tmp_path, "SOLVER.ACCUMULATION_STEPS", parts))


def test_accumulation_leaves_the_scaling_by_processes_as_it_is(dataset, tmp_path):
    """A configuration for two processes in one: half the batch at half the rate, twice as long."""
    reference = ("SOLVER.REFERENCE_WORLD_SIZE", 2, "SOLVER.IMS_PER_BATCH", 8)
    for parts in (1, 4):
        trainer = Trainer(toy_cfg(dataset, tmp_path, *reference, "SOLVER.ACCUMULATION_STEPS", parts))
        assert trainer.optimizer.param_groups[0]["initial_lr"] == pytest.approx(0.05)
        assert trainer.max_iter == 16
    with pytest.raises(ValueError, match=r"SOLVER.ACCUMULATION_STEPS .*divide the 4 samples.*not 8"):
        Trainer(toy_cfg(dataset, tmp_path, *reference, "SOLVER.ACCUMULATION_STEPS", 8))


EMA = ("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.9)


def averaged_weights(trainer):
    return {name: weight.clone() for name, weight in trainer._averages.module.state_dict().items()}


def test_ema_is_saved_and_resumed_to_the_last_bit(dataset, tmp_path):
    cfg = toy_cfg(dataset, tmp_path / "parted", *EMA)
    first = prepare(cfg)
    first.max_iter = 4
    first.train()
    second = prepare(cfg, resume=True, seed=99)
    second.train()
    whole = prepare(toy_cfg(dataset, tmp_path / "whole", *EMA))
    whole.train()
    plain = prepare(toy_cfg(dataset, tmp_path / "plain"))
    plain.train()
    assert equal(averaged_weights(second), averaged_weights(whole))
    assert equal(weights(second), weights(whole))
    assert equal(weights(whole), weights(plain)), "averages do not change the training"
    assert not equal(averaged_weights(whole), weights(whole))


@pytest.mark.parametrize(("choice", "is_averaged"), [("auto", True), ("averaged", True), ("trained", False)])
def test_ema_is_evaluated_and_predicts_as_the_configuration_says(dataset, tmp_path, choice, is_averaged):
    cfg = toy_cfg(dataset, tmp_path, *EMA, "TEST.WEIGHTS", choice)
    trainer = prepare(cfg)
    results = trainer.train()
    checkpoint = str(tmp_path / "model_final.pth")
    cfg.MODEL.WEIGHTS = checkpoint
    predictor = Predictor.from_config(cfg)
    expected = averaged_weights(trainer) if is_averaged else weights(trainer)
    assert equal(predictor.model.state_dict(), expected)
    again = Trainer.test(cfg, predictor.model)
    assert again["keypoints"] == pytest.approx(results["keypoints"], nan_ok=True)
    # A new training from the checkpoint starts with the same weights.
    new = prepare(toy_cfg(dataset, tmp_path / "new", "MODEL.WEIGHTS", checkpoint, "TEST.WEIGHTS", choice))
    assert equal(weights(new), expected)


def test_ema_of_a_checkpoint_without_averages_is_an_error(dataset, tmp_path):
    prepare(toy_cfg(dataset, tmp_path)).train()
    cfg = toy_cfg(
        dataset, tmp_path, "TEST.WEIGHTS", "averaged", "MODEL.WEIGHTS", str(tmp_path / "model_final.pth")
    )
    with pytest.raises(
        CheckpointError, match=r"has no averaged weights.*TEST.WEIGHTS 'averaged'.*SOLVER.EMA"
    ):
        Predictor.from_config(cfg)
    with pytest.raises(CheckpointError, match="has no 'ema', which a resumed training needs"):
        prepare(toy_cfg(dataset, tmp_path, *EMA), resume=True)
    with pytest.raises(ValueError, match=r"SOLVER.EMA.DECAY must be at least 0 and below 1, not 1.0"):
        Trainer(toy_cfg(dataset, tmp_path, *EMA, "SOLVER.EMA.DECAY", 1.0))


def test_ema_that_is_broken_is_not_loaded(dataset, tmp_path):
    cfg = toy_cfg(dataset, tmp_path, *EMA, "MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
    prepare(toy_cfg(dataset, tmp_path, *EMA)).train()
    content = torch.load(tmp_path / "model_final.pth")
    del content["ema"]["module.regress.bias"]
    torch.save(content, tmp_path / "model_final.pth")
    with pytest.raises(CheckpointError, match=r"averaged weights .* are not complete"):
        Predictor.from_config(cfg)
    with pytest.raises(CheckpointError, match="another ema, or its ema is broken"):
        prepare(cfg, resume=True)


def test_ema_given_up_on_resume_is_said(dataset, tmp_path, caplog):
    prepare(toy_cfg(dataset, tmp_path, *EMA)).train()
    with caplog.at_level(logging.WARNING, logger="posecore"):
        prepare(toy_cfg(dataset, tmp_path), resume=True)
    assert "SOLVER.EMA.ENABLED is False: the averaged weights so far are given up" in caplog.text
