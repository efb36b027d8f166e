"""Mosaics: a dot painted at a keypoint is found where the keypoint is said to be, four times."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints
from helpers.support import core_cfg

from posecore.data.mosaic import Mosaic
from posecore.data.sampler import Draw
from posecore.data.samples import build_samples
from posecore.data.training_samples import TrainingSamples

# Brightness around the dots; what no sample covers is black.
BACKGROUND = 40


def sample(size, point, number):
    """A sample with a dot at a keypoint (x, y), and with a second keypoint that is not labeled."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    dot = np.exp(-((columns - point[0]) ** 2 + (rows - point[1]) ** 2) / 18)
    image = torch.from_numpy(BACKGROUND + (200 - BACKGROUND) * dot).round().to(torch.uint8)
    instances = Instances(size)
    x, y = point
    instances.gt_boxes = Boxes(torch.tensor([[x - 6.0, y - 4.0, x + 6.0, y + 4.0]]))
    instances.gt_classes = torch.zeros(1, dtype=torch.int64)
    instances.gt_keypoints = Keypoints(torch.tensor([[[x, y, 2.0], [0.0, 0.0, 0.0]]]))
    instances.gt_areas = torch.tensor([96.0])
    return {
        "file_name": f"{number}.jpg",
        "image_id": number,
        "height": 7,
        "width": 9,
        "image": image[None].repeat(3, 1, 1),
        "instances": instances,
    }


SIZES = [(90, 120), (120, 60), (80, 80), (64, 200)]
POINTS = [(31.0, 44.0), (20.5, 90.0), (60.0, 22.0), (150.0, 30.0)]


@pytest.fixture
def samples():
    return [
        sample(size, point, number) for number, (size, point) in enumerate(zip(SIZES, POINTS, strict=True))
    ]


def test_points_boxes_and_areas_go_with_the_images(samples):
    before = [item["image"].clone() for item in samples]
    centers = set()
    for _ in range(20):
        mosaic = Mosaic(1.0).join(samples)
        image, instances = mosaic["image"], mosaic["instances"]
        assert image.shape == (3, 90, 120)
        assert image.dtype == torch.uint8
        assert instances.image_size == (90, 120)
        assert {key: mosaic[key] for key in ("file_name", "image_id", "height", "width")} == {
            "file_name": "0.jpg",
            "image_id": 0,
            "height": 7,
            "width": 9,
        }
        for row in range(4):
            person = instances[row]
            x, y, v = person.gt_keypoints.tensor[0, 0].tolist()
            left, top, right, bottom = person.gt_boxes.tensor[0].tolist()
            assert v == 2
            assert person.gt_keypoints.tensor[0, 1].tolist() == [0, 0, 0]
            assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((x, y), abs=1e-3)
            # The scale is that of the image, by its width of 12 and area of 96 pixels before.
            assert person.gt_areas.item() == pytest.approx((right - left) * (bottom - top), rel=1e-4)
            window = image[0, int(top) - 1 : int(bottom) + 2, int(left) - 1 : int(right) + 2].float()
            window = (window - BACKGROUND).clamp(min=0)
            rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in window.shape), indexing="ij")
            brightest = torch.stack([(columns * window).sum(), (rows * window).sum()]) / window.sum()
            found = brightest + torch.tensor([int(left) - 1, int(top) - 1])
            assert found.tolist() == pytest.approx([x, y], abs=0.35)
            centers.add((round(x), row))
    assert len(centers) > 20
    for item, image in zip(samples, before, strict=True):
        assert torch.equal(item["image"], image)


def test_the_images_lie_around_one_point_and_the_rest_is_black(samples):
    np.random.seed(3)
    y, x = (round(side * np.random.uniform(0.35, 0.65)) for side in (90, 120))
    np.random.seed(3)
    mosaic = Mosaic(1.0).join(samples)
    shown = mosaic["image"][0] > 0
    corners = {"above left": shown[:y, :x], "above right": shown[:y, x:], "below left": shown[y:, :x]}
    corners["below right"] = shown[y:, x:]
    for (height, width), (place, quarter) in zip(SIZES, corners.items(), strict=True):
        factor = min(quarter.shape[0] / height, quarter.shape[1] / width)
        rows, columns = int(height * factor), int(width * factor)
        assert quarter.sum() == rows * columns, place
        inner = quarter[-rows:] if "above" in place else quarter[:rows]
        inner = inner[:, -columns:] if "left" in place else inner[:, :columns]
        assert inner.all(), place


def test_images_without_persons(samples):
    for item in samples:
        item["instances"] = item["instances"][torch.zeros(1, dtype=torch.bool)]
    mosaic = Mosaic(1.0).join(samples)
    assert len(mosaic["instances"]) == 0
    assert mosaic["instances"].gt_keypoints.tensor.shape == (0, 2, 3)


@pytest.mark.parametrize("size", [(2, 2), (2, 300), (5, 3)])
def test_tiny_images(samples, size):
    samples[0]["image"] = torch.full((3, *size), 90, dtype=torch.uint8)
    assert Mosaic(1.0).join(samples)["image"].shape == (3, *size)


def test_an_image_of_one_row_stays_as_it_is(samples):
    samples[0]["image"] = torch.full((3, 1, 50), 90, dtype=torch.uint8)
    assert torch.equal(Mosaic(1.0).join(samples)["image"], samples[0]["image"])


def test_probability():
    drawn = [Mosaic(0.5).draw(7) for _ in range(300)]
    assert 100 < sum(not numbers for numbers in drawn) < 200
    assert {len(numbers) for numbers in drawn} == {0, 3}
    assert {number for numbers in drawn for number in numbers} == set(range(7))
    state = np.random.get_state()[1].copy()
    assert Mosaic(0.0).draw(7) == []
    assert np.array_equal(np.random.get_state()[1], state)  # other samples stay as they are


@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_wrong_probability_names_the_key(value):
    with pytest.raises(ValueError, match=rf"INPUT\.MOSAIC_PROB must be from 0 to 1, not {value}"):
        build_samples(core_cfg("INPUT.MOSAIC_PROB", value))


def training(samples, *, broken=(), replaces=True, probability=1.0):
    def make(record):
        if record["file_name"] in broken:
            raise OSError(f"image {record['file_name']} is broken")
        return samples[record["image_id"]]

    records = [{key: item[key] for key in ("file_name", "image_id")} for item in samples]
    return TrainingSamples(
        records, make, groups=[0] * len(records), seed=5, replaces=replaces, mosaic=Mosaic(probability)
    )


def test_a_training_draws_the_same_mosaics_again(samples):
    one, other = (training(samples)[Draw(epoch=2, index=1)].sample for _ in range(2))
    assert len(one["instances"]) == 4
    assert torch.equal(one["image"], other["image"])
    assert not torch.equal(one["image"], training(samples)[Draw(epoch=3, index=1)].sample["image"])


def test_images_that_cannot_be_read_are_replaced_in_mosaics_and_named(samples):
    dataset = training(samples, broken={"2.jpg"})
    names = set()
    for epoch in range(10):
        loaded = dataset[Draw(epoch=epoch, index=0)]
        assert len(loaded.sample["instances"]) == 4
        names |= {image.file_name for image in loaded.bad_images}
    assert names == {"2.jpg"}


def test_an_image_of_a_mosaic_that_cannot_be_read_ends_a_training_that_allows_none(samples):
    dataset = training(samples, broken={"1.jpg", "2.jpg", "3.jpg"}, replaces=False)
    loaded = [dataset[Draw(epoch=epoch, index=0)] for epoch in range(5)]
    ended = [item for item in loaded if item.sample is None]
    assert ended
    assert all(len(item.bad_images) == 1 for item in ended)


def test_where_all_others_are_broken_the_mosaic_has_what_there_is(samples):
    loaded = training(samples, broken={"1.jpg", "2.jpg", "3.jpg"})[Draw(epoch=0, index=0)]
    assert len(loaded.sample["instances"]) == 4  # four times the one image
