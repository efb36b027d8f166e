"""The samples "person_crops": records, samples, and that both say where a person is."""

import copy
import itertools

import numpy as np
import pytest
import torch
from helpers.configs import override_list
from helpers.dot_dataset import CHIN, LEFT, RIGHT, SIZE, dots_cfg, make_cfg
from helpers.model_contract import skeleton_of
from numpy.testing import assert_allclose
from torch.testing import assert_close

from posecore.data import (
    PersonBoxes,
    build_samples,
    build_test_loader,
    build_train_loader,
    load_dataset,
    train_dataset_dicts,
)
from posecore.data.synthetic import make_dataset
from posecore.structures.skeleton import load_skeleton


@pytest.fixture
def dots(tmp_path):
    return dots_cfg(tmp_path)


def find_dot(image, channel):
    """Continuous pixels of an image (3, H, W)."""
    weights = image[channel].double()
    rows, columns = torch.meshgrid(*(torch.arange(size) + 0.5 for size in weights.shape), indexing="ij")
    return torch.stack([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def in_image(points, crop_to_image):
    return points @ crop_to_image[:, :2].T + crop_to_image[:, 2]


def test_a_labeled_sample_is_a_training_sample_without_augmentation(dots):
    dots.merge_from_list(["INPUT.CROPS.ROTATION.PROB", 1.0, "INPUT.RANDOM_FLIP", "horizontal"])
    record = train_dataset_dicts(dots)[0]
    samples = [build_samples(dots).labeled_sample(record) for _ in range(5)]
    for sample in samples:
        assert torch.equal(sample["crops"], samples[0]["crops"])
        assert torch.equal(sample["crop_to_image"], samples[0]["crop_to_image"])
        [keypoints] = sample["instances"].gt_keypoints.tensor
        ground_truth = torch.tensor(record["annotation"]["keypoints"]).view(-1, 3)
        seen = in_image(keypoints[:, :2], sample["crop_to_image"][0])
        assert_close(
            seen[keypoints[:, 2] > 0], ground_truth[keypoints[:, 2] > 0, :2].float(), atol=1e-3, rtol=0
        )
    augmented = build_samples(dots).train_sample(record)
    assert not torch.equal(augmented["crop_to_image"], samples[0]["crop_to_image"])


def test_training_persons(dots):
    records = train_dataset_dicts(dots)
    assert [record["annotation"]["id"] for record in records] == [1, 5]
    assert records[1]["box"].tolist() == [0, 90, 20, 110], "cut at the border"
    dots.DATASETS.MIN_KEYPOINTS = 2
    assert [record["annotation"]["id"] for record in train_dataset_dicts(dots)] == [1]
    dots.DATASETS.MIN_KEYPOINTS = 4
    with pytest.raises(ValueError, match=r"DATASETS\.MIN_KEYPOINTS = 4"):
        train_dataset_dicts(dots)


def test_training_persons_need_one_labeled_keypoint_anyway(dots):
    dots.DATASETS.MIN_KEYPOINTS = 0
    assert len(train_dataset_dicts(dots)) == 2


@pytest.mark.parametrize(("clip", "box"), [(True, [0, 90, 20, 110]), (False, [-20, 90, 20, 130])])
def test_boxes_are_cut_or_not(dots, clip, box):
    dots.INPUT.CROPS.CLIP_BOXES = clip
    records = train_dataset_dicts(dots)
    assert records[-1]["box"].tolist() == box
    assert len(records) == (2 if clip else 3)  # of a box beside the image nothing is left


def test_boxes_around_the_keypoints(dots):
    dots.INPUT.BOXES = "keypoints"
    record = train_dataset_dicts(dots)[0]
    assert_allclose(record["box"], [59.5, 34.5, 97, 72.5])


@pytest.mark.parametrize("coordinates", ["continuous", "indices"])
def test_augmented_keypoints_are_where_the_pixels_are(dots, coordinates):
    dots.INPUT.CROPS.COORDINATES = coordinates
    dots.INPUT.CROPS.SHIFT.PROB = 0.5
    dots.INPUT.CROPS.HALF_BODY.MIN_KEYPOINTS = 2
    samples = build_samples(dots)
    record = train_dataset_dicts(dots)[0]
    before = copy.deepcopy(record)
    flipped = set()
    checked = 0
    for _ in range(60):
        sample = samples.train_sample(record)
        assert sample["crops"].shape == (1, 3, *SIZE)
        assert sample["crops"].dtype == torch.uint8
        (keypoints,) = sample["instances"].gt_keypoints.tensor
        (affine,) = sample["crop_to_image"]
        is_flipped = bool(torch.linalg.det(affine[:, :2]) < 0)
        flipped.add(is_flipped)
        for index, (channel, place) in enumerate(zip((0, 1, 2), (LEFT, RIGHT, CHIN), strict=True)):
            swapped = (1, 0, 2)[index] if is_flipped else index
            x, y, v = keypoints[swapped].tolist()
            if v == 0:
                assert (x, y) == (0, 0)
                continue
            assert v == 2
            assert_close(
                in_image(keypoints[swapped, :2], affine), torch.tensor(place) + 0.5, atol=1e-3, rtol=0
            )
            if min(x, y, SIZE[1] - x, SIZE[0] - y) > 20:  # the whole dot is in the crop
                shift = 0.0 if coordinates == "continuous" else 0.5
                found = find_dot(sample["crops"][0], channel).float() - shift
                assert_close(found, torch.tensor([x, y]), atol=0.25, rtol=0)
                checked += 1
    assert flipped == {True, False}
    assert checked > 30
    assert record["annotation"] == before["annotation"]
    assert np.array_equal(record["box"], before["box"])


def test_what_a_training_sample_holds(dots):
    dots.merge_from_list(
        ["INPUT.RANDOM_FLIP", "none", "INPUT.CROPS.SCALE", 0.0, "INPUT.CROPS.ROTATION.PROB", 0.0]
    )
    sample = build_samples(dots).train_sample(train_dataset_dicts(dots)[0])
    assert (sample["height"], sample["width"], sample["image_id"]) == (110, 150, 1)
    assert sample["file_name"].endswith("1.png")
    assert sample["boxes"].tolist() == [[50, 25, 110, 85]]
    assert sample["box_scores"].tolist() == [1]
    # 60 pixels are 75 in the region, and that 72 in the crop.
    instances = sample["instances"]
    assert instances.image_size == SIZE
    assert_close(instances.gt_boxes.tensor, torch.tensor([[7.2, 19.2, 64.8, 76.8]]))
    assert instances.gt_classes.tolist() == [0]
    expected = (torch.tensor(LEFT) + 0.5 - torch.tensor([80.0, 55])) * 0.96 + torch.tensor([36.0, 48])
    assert_close(instances.gt_keypoints.tensor[0, 0], torch.tensor([*expected.tolist(), 2]))
    bgr = copy.deepcopy(dots)
    bgr.INPUT.FORMAT = "BGR"
    other = build_samples(bgr).train_sample(train_dataset_dicts(dots)[0])
    assert torch.equal(other["crops"].flip(1), sample["crops"])


def test_seeds_decide(dots):
    dots.merge_from_list(["INPUT.CROPS.COLOR", True, "INPUT.CROPS.CUTOUT", True])
    samples, (record, _) = build_samples(dots), train_dataset_dicts(dots)
    crops = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        crops.append(samples.train_sample(record)["crops"])
    assert torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2])


def test_pixels_are_changed_in_the_crop(dots):
    dots.merge_from_list(
        ["INPUT.CROPS.SCALE", 0.0, "INPUT.CROPS.ROTATION.PROB", 0.0, "INPUT.RANDOM_FLIP", "none"]
    )
    record = train_dataset_dicts(dots)[0]
    (plain,) = build_samples(dots).train_sample(record)["crops"]
    dots.INPUT.CROPS.CUTOUT = True
    crops = [build_samples(dots).train_sample(record)["crops"][0] for _ in range(5)]
    assert any((crop != plain).any() for crop in crops)
    assert all(((crop == plain) | (crop == 0)).all() for crop in crops)


def test_evaluation_sees_all_persons_of_each_image(dots):
    first, second = (batch[0] for batch in build_test_loader(dots, "dots"))
    assert first["crops"].shape == (2, 3, *SIZE)
    assert first["boxes"].tolist() == [[50, 25, 110, 85], [0, 90, 20, 110]]
    assert first["box_scores"].tolist() == [1, 1]
    for channel, place in ((0, LEFT), (1, RIGHT), (2, CHIN)):
        found = find_dot(first["crops"][0], channel).float()
        assert_close(in_image(found, first["crop_to_image"][0]), torch.tensor(place) + 0.5, atol=0.15, rtol=0)
    assert "instances" not in first
    assert (second["image_id"], second["height"], second["width"]) == (2, 60, 50)
    assert second["crops"].shape == (0, 3, *SIZE)
    assert second["crops"].dtype == torch.uint8
    assert second["crop_to_image"].shape == (0, 2, 3)
    assert second["boxes"].shape == (0, 4)
    assert second["box_scores"].shape == (0,)


def test_an_image_from_memory(dots):
    samples = build_samples(dots)
    image = np.random.default_rng(0).integers(0, 256, (80, 70, 3), dtype=np.uint8)
    boxes = PersonBoxes(np.array([[1.0, 2, 30, 60], [5, 5, 5, 20], [0, 0, 9, 9]]), np.array([0.9, 0.8, 0.1]))
    assert samples.needs_boxes
    assert len(samples.sample(image, boxes)["crops"]) == 2, "one has no area"
    dots.INPUT.CROPS.MIN_SCORE = 0.2
    sample = build_samples(dots).sample(image, boxes)
    assert sample["boxes"].tolist() == [[1, 2, 30, 60]]
    assert_close(sample["box_scores"], torch.tensor([0.9]))
    assert (sample["height"], sample["width"]) == (80, 70)
    with pytest.raises(ValueError, match="their boxes must be given"):
        samples.sample(image)


@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_any_skeleton_and_size(tmp_path, num_keypoints):
    skeleton = skeleton_of(num_keypoints, tmp_path)
    definition = make_dataset(tmp_path, num_images=3, size=(90, 70), people=(1, 2), skeleton=skeleton)
    cfg = make_cfg(
        *override_list(
            {
                "DATASETS.DEFINITIONS": (str(definition),),
                "DATASETS.TRAIN": ("synthetic_train",),
                "DATASETS.SKELETON": skeleton,
                "INPUT.CROPS.SIZE": (49, 64),
            }
        ),
    )
    for sample, _ in itertools.islice(build_train_loader(cfg), 3):
        assert sample["crops"].shape == (1, 3, 49, 64)
        keypoints = sample["instances"].gt_keypoints.tensor
        assert keypoints.shape == (1, num_keypoints, 3)
        inside = (keypoints[..., :2] >= 0) & (keypoints[..., :2] <= torch.tensor([64, 49]))
        assert inside.all()
        original = torch.tensor(_keypoints(cfg, sample))
        affine = sample["crop_to_image"][0]
        back = in_image(keypoints[0, :, :2], affine)
        if torch.linalg.det(affine[:, :2]) < 0:
            back = back[list(load_skeleton(skeleton).flip_indices)]
            keypoints = keypoints[:, list(load_skeleton(skeleton).flip_indices)]
        shown = keypoints[0, :, 2] > 0
        distance = (original[:, shown, :2] - back[shown]).norm(dim=2).amax(dim=1)
        assert distance.min() < 1e-2, "one person of the image is the one in the crop"


def _keypoints(cfg, sample):
    """(n, K, 3) of the persons in the image of a sample."""
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    records = {record["image_id"]: record for record in load_dataset("synthetic_train", skeleton)}
    people = records[sample["image_id"]]["annotations"]
    return np.array([person["keypoints"] for person in people], np.float32).reshape(
        len(people), skeleton.num_keypoints, 3
    )


def test_an_epoch_is_every_person_once(tmp_path):
    definition = make_dataset(tmp_path, num_images=6, size=(60, 80), people=(0, 3))
    cfg = make_cfg("DATASETS.DEFINITIONS", (str(definition),), "DATASETS.TRAIN", ("synthetic_train",))
    records = train_dataset_dicts(cfg)
    assert len({record["image_id"] for record in records}) < len(records)
    cfg.SOLVER.IMS_PER_BATCH = len(records)
    for batch in itertools.islice(build_train_loader(cfg), 2):
        boxes = sorted((sample["image_id"], *sample["boxes"][0].tolist()) for sample in batch)
        assert_allclose(boxes, sorted((record["image_id"], *record["box"]) for record in records), rtol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["INPUT.CROPS.SIZE", (256,)], r"INPUT\.CROPS\.SIZE must be height and width"),
        (["INPUT.CROPS.COORDINATES", "pixels"], r"INPUT\.CROPS\.COORDINATES must be one of 'continuous'"),
        (["INPUT.CROPS.BOXES", "guess"], r"INPUT\.CROPS\.BOXES must be one of 'ground_truth'"),
        (["INPUT.BOXES", "none"], r"INPUT\.BOXES must be"),
        (["INPUT.FORMAT", "GBR"], r"INPUT\.FORMAT must be"),
    ],
)
def test_wrong_keys_are_named(dots, overrides, message):
    dots.merge_from_list(overrides)
    with pytest.raises(ValueError, match=message):
        build_samples(dots)
