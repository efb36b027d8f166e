"""Loaders: which images come, and in what batches."""

import itertools
import json
import random

import numpy as np
import pytest
import torch
from helpers.configs import override_list
from helpers.processes import in_processes
from helpers.support import core_cfg

from posecore.config import get_cfg
from posecore.data.bad_images import BadImageError, bad_image_share
from posecore.data.loader import build_test_loader, build_train_loader, train_dataset_dicts
from posecore.data.synthetic import make_dataset


@pytest.fixture
def cfg(tmp_path):
    """Two small datasets; in the first, image 1 has nobody and image 2 a crowd and one keypoint."""
    definitions = [
        str(make_dataset(tmp_path, num_images=count, size=(40, 48), split=split, people=(1, 2)))
        for split, count in (("train", 4), ("more", 3))
    ]
    path = tmp_path / "annotations" / "train.json"
    content = json.loads(path.read_text())
    people = [item for item in content["annotations"] if item["image_id"] != 1]
    for item in people:
        if item["image_id"] == 2:
            item.update(iscrowd=1, num_keypoints=17, keypoints=[1, 1, 1] * 17)
    first = next(item for item in people if item["image_id"] == 2)
    people.append({**first, "id": 99, "iscrowd": 0, "num_keypoints": 1, "keypoints": [5, 5, 2] + [0] * 48})
    path.write_text(json.dumps(content | {"annotations": people}))
    return core_cfg(
        *override_list(
            {
                "DATASETS.DEFINITIONS": definitions,
                "DATASETS.TRAIN": ("synthetic_train", "synthetic_more"),
                "DATASETS.TEST": ("synthetic_train",),
                "DATALOADER.NUM_WORKERS": 0,
                "SOLVER.IMS_PER_BATCH": 2,
                "INPUT.MIN_SIZE_TRAIN": (40,),
                "INPUT.MIN_SIZE_TEST": 40,
            }
        ),
    )


@pytest.mark.parametrize(("minimum", "ids"), [(0, [1, 2, 3, 4]), (1, [2, 3, 4]), (2, [3, 4])])
def test_images_with_too_few_labeled_keypoints_are_left_out(cfg, minimum, ids):
    cfg.DATASETS.MIN_KEYPOINTS = minimum
    dicts = train_dataset_dicts(cfg)
    assert [record["image_id"] for record in dicts] == [*ids, 1, 2, 3]


def test_batches(cfg):
    batches = list(itertools.islice(build_train_loader(cfg), 6))
    assert [len(batch) for batch in batches] == [2] * 6
    assert all("instances" in sample for batch in batches for sample in batch)
    files = {sample["file_name"] for batch in batches for sample in batch}
    assert files == {record["file_name"] for record in train_dataset_dicts(cfg)}


def test_a_mapper_and_images_of_ones_own(cfg):
    dicts = [{"width": 2, "height": 1, "number": number} for number in range(3)]
    (batch,) = itertools.islice(build_train_loader(cfg, mapper=lambda record: record, dicts=dicts), 1)
    assert {record["number"] for record in batch} <= {0, 1, 2}


def test_evaluation_sees_every_image_once(cfg):
    samples = [sample for batch in build_test_loader(cfg, "synthetic_train") for sample in batch]
    assert [sample["image_id"] for sample in samples] == [1, 2, 3, 4]
    assert not any("instances" in sample for sample in samples)


def test_workers(cfg):
    cfg.DATALOADER.NUM_WORKERS = 1
    (batch,) = itertools.islice(build_train_loader(cfg), 1)
    assert len(batch) == 2


RANDOM = override_list(
    {
        "INPUT.RANDOM_FLIP": "horizontal",
        "INPUT.ROTATION": 20.0,
        "INPUT.MIN_SIZE_TRAIN": (32, 36, 40),
        "INPUT.CROP.ENABLED": True,
        "INPUT.COLOR.BRIGHTNESS": 0.4,
        "INPUT.COARSE_DROPOUT_PROB": 0.5,
    }
)


def contents(cfg, count, first_batch=0):
    """What a model sees: per batch, of each sample the image and the keypoints."""
    loader = build_train_loader(cfg, seed=7, first_batch=first_batch)
    return [
        [
            (s["file_name"], s["image"].numpy().tobytes(), s["instances"].gt_keypoints.tensor.tolist())
            for s in batch
        ]
        for batch in itertools.islice(loader, count)
    ]


@pytest.mark.parametrize("grouping", [True, False])
def test_samples_are_the_same_for_any_number_of_workers(cfg, grouping):
    cfg.merge_from_list([*RANDOM, "DATALOADER.ASPECT_RATIO_GROUPING", grouping])
    alone = contents(cfg, 12)
    assert len({image for batch in alone for _, image, _ in batch}) == 24, "each draw is augmented anew"
    torch.manual_seed(99)
    np.random.seed(99)
    for workers in (1, 2, 3):
        cfg.DATALOADER.NUM_WORKERS = workers
        assert contents(cfg, 12) == alone
        assert contents(cfg, 5, first_batch=7) == alone[7:]


def test_loading_leaves_the_random_numbers_of_the_model_alone(cfg):
    cfg.merge_from_list(list(RANDOM))
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    contents(cfg, 3)
    assert (torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()) == expected


def contents_of_process(overrides):
    cfg = core_cfg(*overrides)
    return contents(cfg, 8)


@pytest.mark.long
def test_two_processes_see_the_samples_of_one(cfg, tmp_path):
    overrides = [
        *override_list(
            {
                "DATASETS.DEFINITIONS": cfg.DATASETS.DEFINITIONS,
                "DATASETS.TRAIN": cfg.DATASETS.TRAIN,
                "SOLVER.IMS_PER_BATCH": 4,
                "OUTPUT_DIR": str(tmp_path),
                "DATALOADER.NUM_WORKERS": 1,
            }
        ),
        *RANDOM,
    ]
    shares = in_processes(contents_of_process, 2, overrides)
    alone = contents_of_process(overrides)
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in alone]


def break_image(tmp_path, split, number):
    path = tmp_path / split / f"{number:06d}.jpg"
    path.write_bytes(b"no image")
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_stops_the_training_with_its_name_alone(cfg, tmp_path, workers):
    bad = break_image(tmp_path, "train", 3)
    cfg.DATALOADER.NUM_WORKERS = workers
    with pytest.raises(BadImageError, match=rf"^image {bad} .*DATASETS.BAD_IMAGES") as raised:
        list(itertools.islice(build_train_loader(cfg), 8))
    assert "Traceback" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_passed_over_and_named(cfg, tmp_path, workers):
    bad = break_image(tmp_path, "train", 3)
    cfg.merge_from_list(
        ["DATASETS.BAD_IMAGES", "0.2", "DATALOADER.NUM_WORKERS", workers, "OUTPUT_DIR", str(tmp_path / "out")]
    )
    seen = {name for batch in contents(cfg, 12) for name, _, _ in batch}
    assert str(bad) not in seen
    assert len(seen) == len(train_dataset_dicts(cfg)) - 1
    contents(cfg, 12)
    (line,) = (tmp_path / "out" / "bad_images.txt").read_text().splitlines()
    assert line.startswith(f"{bad}\timage {bad} ")


def test_more_bad_images_than_allowed(cfg, tmp_path):
    bad = [break_image(tmp_path, "train", 3), break_image(tmp_path, "more", 2)]
    cfg.merge_from_list(["DATASETS.BAD_IMAGES", "0.2", "OUTPUT_DIR", str(tmp_path / "out")])
    with pytest.raises(BadImageError, match=r"2 of 6 training images cannot be read.*BAD_IMAGES 0.2 allows"):
        contents(cfg, 12)
    text = (tmp_path / "out" / "bad_images.txt").read_text()
    assert all(str(path) in text for path in bad)


def test_no_image_can_be_read(cfg, tmp_path):
    for path in [*tmp_path.glob("train/*.jpg"), *tmp_path.glob("more/*.jpg")]:
        path.unlink()
    cfg.merge_from_list(["DATASETS.BAD_IMAGES", "0.99", "OUTPUT_DIR", str(tmp_path / "out")])
    with pytest.raises(BadImageError, match=r"images (that )?cannot be read"):
        contents(cfg, 12)


def test_an_error_that_is_not_the_images_keeps_its_traceback(cfg):
    def broken(record):
        raise ValueError("a fault of the mapper")

    cfg.DATASETS.BAD_IMAGES = "0.5"
    with pytest.raises(ValueError, match="a fault of the mapper") as raised:
        next(iter(build_train_loader(cfg, mapper=broken)))
    assert not isinstance(raised.value, BadImageError)


@pytest.mark.parametrize("value", ["skip", "0", "1", "-0.1", "nan", "inf", "", "1e-400", "2"])
def test_shares_that_are_none(cfg, value):
    cfg.DATASETS.BAD_IMAGES = value
    with pytest.raises(ValueError, match=r'DATASETS.BAD_IMAGES must be "stop" or a share'):
        build_train_loader(cfg)


def test_a_share_as_a_number(tmp_path):
    config = get_cfg()
    config.merge_from_list(["DATASETS.BAD_IMAGES", "0.01"])
    assert bad_image_share(config) == 0.01
    (tmp_path / "config.yaml").write_text("DATASETS: {BAD_IMAGES: 0.02}")
    config.merge_from_file(str(tmp_path / "config.yaml"))
    assert bad_image_share(config) == 0.02
    assert bad_image_share(get_cfg()) == 0


def test_test_sets_have_no_annotations(cfg, tmp_path):
    path = tmp_path / "annotations" / "train.json"
    path.write_text(json.dumps({"images": json.loads(path.read_text())["images"]}))
    assert len(list(build_test_loader(cfg, "synthetic_train"))) == 4
    with pytest.raises(ValueError, match="names a dataset without annotations"):
        train_dataset_dicts(cfg)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["DATASETS.TRAIN", ()], r"DATASETS\.TRAIN is empty"),
        (["DATASETS.TRAIN", ("synthetic_trian",)], "'synthetic_trian' is not known"),
        (["DATASETS.MIN_KEYPOINTS", 999], r"DATASETS\.MIN_KEYPOINTS = 999"),
        (["DATASETS.SKELETON", "mpii_16"], r"'coco_17', but DATASETS\.SKELETON is 'mpii_16'"),
        (["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"], r"DATALOADER\.SAMPLER_TRAIN must be"),
    ],
)
def test_what_is_wrong_is_named(cfg, overrides, message):
    cfg.merge_from_list(overrides)
    with pytest.raises(ValueError, match=message):
        build_train_loader(cfg)
