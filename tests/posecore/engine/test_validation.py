"""Losses on what a model is not trained with: of which network, of which samples, and where they end up."""

import json

import pytest
import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from helpers import toy_model  # noqa: F401  (registers a model)
from helpers.configs import override_list
from helpers.processes import in_processes
from helpers.support import core_cfg
from torch import nn

from posecore.data import build_labeled_loader, build_test_loader, load_dataset, register_definitions
from posecore.data.synthetic import make_dataset
from posecore.engine.trainer import Trainer
from posecore.engine.validation import check_validation, mean_losses, validation_losses
from posecore.modeling.estimator import CommonParts, PoseEstimator
from posecore.structures.skeleton import load_skeleton


class Backbone(nn.Module):
    """Drops nearly everything in training, and follows a running mean then."""

    size_divisibility = 0

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.9))

    def forward(self, images):
        return self.layers(images)


@META_ARCH_REGISTRY.register()
class Brightness(PoseEstimator):
    """Its losses are the mean brightness of the images, and how many persons each has."""

    @configurable
    def __init__(self, common):
        super().__init__(common)
        self.scale = nn.Parameter(torch.ones(()))

    @classmethod
    def from_config(cls, cfg):
        skeleton = load_skeleton(cfg.DATASETS.SKELETON)
        return {"common": CommonParts(Backbone(), skeleton, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))}

    def losses(self, images, targets):
        people = torch.tensor([float(len(target)) for target in targets])
        return {"loss_bright": self.scale * self.backbone(images.tensor).mean(), "loss_people": people.mean()}

    def predict(self, images):
        return [
            Instances(
                size,
                pred_boxes=Boxes(torch.tensor([[1.0, 1.0, 9.0, 9.0]])),
                scores=torch.ones(1),
                pred_classes=torch.zeros(1, dtype=torch.int64),
                pred_keypoints=torch.ones(1, self.skeleton.num_keypoints, 3),
            )
            for size in images.image_sizes
        ]


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "data", num_images=7, size=(48, 64), name="toy", people=(1, 3))


def make_cfg(dataset, *overrides):
    return core_cfg(
        *override_list(
            {
                "MODEL.META_ARCHITECTURE": "Brightness",
                "TEST.LOSSES": True,
                "SEED": 1,
                "DATASETS.DEFINITIONS": (str(dataset),),
                "DATASETS.TRAIN": ("toy_train",),
                "DATASETS.TEST": ("toy_train",),
                "DATALOADER.NUM_WORKERS": 0,
                "INPUT.MIN_SIZE_TEST": 48,
                "SOLVER.IMS_PER_BATCH": 4,
                # What training does to images must not be seen here.
                "INPUT.MIN_SIZE_TRAIN": (32,),
                "INPUT.ROTATION": 40.0,
                "INPUT.ROTATION_PROB": 1.0,
            }
        ),
        *overrides,
    )


def persons(cfg):
    register_definitions(cfg.DATASETS.DEFINITIONS)
    images = load_dataset("toy_train", load_skeleton(cfg.DATASETS.SKELETON))
    return [len(image["annotations"]) for image in images]


def test_means_are_over_samples_of_the_network_as_evaluation_has_it(dataset):
    cfg = make_cfg(dataset)
    model = build_model(cfg).train()
    losses = validation_losses(cfg, model)["toy_train"]
    images = [sample["image"] for batch in build_test_loader(cfg, "toy_train") for sample in batch]
    # Running statistics are those of a new norm; seven images in batches of four and three.
    brightness = torch.stack(images).double().mean().item()
    assert losses["loss_bright"] == pytest.approx(brightness, rel=1e-4)
    assert losses["loss_people"] == pytest.approx(sum(persons(cfg)) / 7)
    assert all(module.training for module in model.modules())
    assert model.backbone.layers[0].num_batches_tracked == 0


def test_a_model_is_left_as_it_was_where_a_loss_fails():
    model = build_model(core_cfg("MODEL.META_ARCHITECTURE", "Brightness")).eval()
    with pytest.raises(KeyError):
        mean_losses(model, [[{}]])
    assert not any(module.training for module in model.modules())


def test_labeled_samples_are_evaluations_with_persons(dataset):
    cfg = make_cfg(dataset)
    batches = list(build_labeled_loader(cfg, "toy_train"))
    assert [len(batch) for batch in batches] == [4, 3]
    labeled = [sample for batch in batches for sample in batch]
    tested = [sample for batch in build_test_loader(cfg, "toy_train") for sample in batch]
    for ours, theirs in zip(labeled, tested, strict=True):
        assert torch.equal(ours["image"], theirs["image"])
    assert [len(sample["instances"]) for sample in labeled] == persons(cfg)


def shares(definition):
    """The files that a process sees, and its losses."""
    cfg = make_cfg(definition)
    batches = list(build_labeled_loader(cfg, "toy_train"))
    losses = validation_losses(cfg, build_model(cfg))["toy_train"]
    return {"files": [[sample["file_name"] for sample in batch] for batch in batches], "losses": losses}


def test_two_processes_share_the_images(dataset):
    first, second = in_processes(shares, 2, str(dataset))
    assert [len(batch) for batch in first["files"]] == [2, 1]
    assert [len(batch) for batch in second["files"]] == [2, 1]
    assert len({file for share in (first, second) for batch in share["files"] for file in batch}) == 6
    assert first["losses"] == second["losses"]
    people = persons(make_cfg(dataset))[:6]
    assert first["losses"]["loss_people"] == pytest.approx(sum(people) / 6)


def test_a_training_records_them(dataset, tmp_path):
    output = tmp_path / "out"
    cfg = make_cfg(dataset, "OUTPUT_DIR", str(output), "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 1)
    trainer = Trainer(cfg)
    trainer.resume_or_load(False)
    results = trainer.train()
    last = json.loads((output / "metrics.json").read_text().splitlines()[-1])
    assert last["losses/loss_people"] == results["losses"]["loss_people"]
    assert "keypoints/AP" in last


def test_what_cannot_be_had_shows_before_the_training(dataset, monkeypatch):
    with pytest.raises(TypeError, match=r"TEST\.LOSSES works with PoseEstimator models; ToyPose"):
        Trainer(make_cfg(dataset, "MODEL.META_ARCHITECTURE", "ToyPose"))
    cfg = make_cfg(dataset, "DATASETS.MIN_KEYPOINTS", 200)
    with pytest.raises(ValueError, match=r"TEST\.LOSSES needs a sample .* toy_train has 0 samples"):
        check_validation(cfg, build_model(cfg))
    monkeypatch.setattr(comm, "get_world_size", lambda: 8)
    with pytest.raises(ValueError, match=r"has 7 samples .* there are 8 processes"):
        check_validation(make_cfg(dataset), build_model(cfg))
