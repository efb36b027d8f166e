"""Whole trainings of a toy model on drawn images: what they do and what they leave behind."""

import json
import math

import pytest
import torch
from detectron2.modeling import build_model
from helpers.configs import override_list
from helpers.processes import in_processes
from helpers.toy_training import AUGMENTED, equal, lines, prepare, toy_cfg, weights

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.data.synthetic import make_dataset
from posecore.engine.trainer import Trainer
from posecore.env import TrainingRecord


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


@pytest.mark.long
def test_two_processes_train_as_one(dataset, tmp_path):
    """Not to the last bit, because losses are averaged in another order."""
    first, second = in_processes(train_two, 2, str(dataset), str(tmp_path / "two"))
    alone = train_two(str(dataset), str(tmp_path / "one"))
    assert equal(first, second)
    for name, weight in alone.items():
        torch.testing.assert_close(first[name], weight, rtol=1e-4, atol=1e-5)


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
