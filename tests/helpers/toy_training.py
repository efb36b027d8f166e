"""Trainings of the toy model on eight small drawn images, for tests of the trainer."""

import json

import torch
from detectron2.utils.env import seed_all_rng

from helpers import toy_model  # noqa: F401  (registers the model)
from helpers.configs import override_list
from helpers.support import core_cfg
from posecore.engine.trainer import Trainer

AUGMENTED = (
    "INPUT.RANDOM_FLIP",
    "horizontal",
    "INPUT.ROTATION",
    20.0,
    "DATALOADER.ASPECT_RATIO_GROUPING",
    False,
)


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
    """Copies of the weights by name."""
    model = getattr(trainer.step.model, "module", trainer.step.model)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def equal(a, b):
    """Whether two sets of weights are the same to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def lines(folder):
    """The lines of metrics.json."""
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
