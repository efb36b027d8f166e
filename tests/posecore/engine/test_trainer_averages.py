"""Moving averages of the weights (SOLVER.EMA) in whole trainings of a toy model."""

import logging

import pytest
import torch
from helpers.toy_training import equal, prepare, toy_cfg, weights

from posecore.checkpoint.weights import CheckpointError
from posecore.engine.trainer import Trainer
from posecore.inference.predictor import Predictor

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
