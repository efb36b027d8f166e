"""Loaders: which images come, and in what batches."""

import itertools
import json

import pytest
from helpers.configs import override_list
from helpers.support import core_cfg

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
