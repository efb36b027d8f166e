"""Kinds of samples: records and samples are made as the kind that is named makes them."""

import itertools

import pytest
import torch
from helpers.configs import override_list
from helpers.support import core_cfg

from posecore.data import (
    SAMPLES,
    build_samples,
    build_test_loader,
    build_train_loader,
    load_dataset,
    register_samples,
)
from posecore.data.mapper import read_rgb
from posecore.data.samples import ImageSamples
from posecore.data.synthetic import make_dataset
from posecore.structures.skeleton import load_skeleton


@pytest.fixture
def cfg(tmp_path):
    definition = str(make_dataset(tmp_path, num_images=4, size=(40, 48), people=(1, 1)))
    return core_cfg(
        *override_list(
            {
                "DATASETS.DEFINITIONS": (definition,),
                "DATASETS.TRAIN": ("synthetic_train",),
                "DATALOADER.NUM_WORKERS": 0,
                "SOLVER.IMS_PER_BATCH": 2,
                "INPUT.MIN_SIZE_TEST": 40,
            }
        ),
    )


def test_a_view_of_ones_own(cfg, monkeypatch):
    class Halves(ImageSamples):
        """Each image twice, of one shape or not."""

        same_shape = True

        def train_records(self, images):
            return [record | {"half": half} for record in images for half in (0, 1)]

        def train_sample(self, record):
            # Samples without a shape: grouping them by it would fail.
            return {"half": record["half"], "image_id": record["image_id"]}

        def test_records(self, dataset, images):
            return [record | {"dataset": dataset} for record in images]

        def test_sample(self, record):
            return {"dataset": record["dataset"]}

    monkeypatch.setattr("posecore.data.samples.SAMPLES", dict(SAMPLES))
    register_samples("halves")(Halves)
    cfg.INPUT.SAMPLES = "halves"
    batches = list(itertools.islice(build_train_loader(cfg, seed=0), 4))
    seen = {(sample["image_id"], sample["half"]) for batch in batches for sample in batch}
    assert seen == set(itertools.product((1, 2, 3, 4), (0, 1))), "an epoch is as long as the records"
    resumed = next(iter(build_train_loader(cfg, seed=0, first_batch=3)))
    assert resumed == batches[3]
    tested = [sample for batch in build_test_loader(cfg, "synthetic_train") for sample in batch]
    assert tested == [{"dataset": "synthetic_train"}] * 4


def test_unknown_views_are_named(cfg):
    cfg.INPUT.SAMPLES = "crosp"
    with pytest.raises(ValueError, match=r"INPUT\.SAMPLES must be one of 'images'.*not 'crosp'"):
        build_samples(cfg)


def test_images_are_the_same_from_a_dataset_and_from_memory(cfg):
    samples = build_samples(cfg)
    (batch, *_) = build_test_loader(cfg, "synthetic_train")
    record = load_dataset("synthetic_train", load_skeleton("coco_17"))[0]
    sample = samples.sample(read_rgb(record))
    assert torch.equal(sample["image"], batch[0]["image"])
    assert (sample["height"], sample["width"]) == (40, 48)
