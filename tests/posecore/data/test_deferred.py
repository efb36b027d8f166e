"""Resizes that wait for crops: pixels and labels are those of whole resizes, and draws keep their order."""

import copy
import pickle

import numpy as np
import pytest
from detectron2.data import transforms as T
from helpers.configs import override_list
from helpers.support import core_cfg
from PIL import Image

from posecore.data.augment import build_augmentations
from posecore.data.deferred import DeferredImage, DeferredInput

SIZE = (97, 131)
CASES = {
    "resize alone": {},
    "absolute crop": {"INPUT.CROP.TYPE": "absolute", "INPUT.CROP.SIZE": [60, 70]},
    "absolute crop with a border": {"INPUT.CROP.TYPE": "absolute", "INPUT.CROP.SIZE": [150, 160]},
    "relative crop": {"INPUT.CROP.TYPE": "relative_range", "INPUT.CROP.SIZE": [0.4, 0.4]},
    "crop around a person": {"INPUT.CROP.TYPE": "person", "INPUT.CROP.SIZE": [0.8, 2.0]},
    "crop of a range": {
        "INPUT.CROP.TYPE": "absolute_range",
        "INPUT.CROP.SIZE": [40, 60],
        "INPUT.CROP.RESIZE": (64, 80, 100),
        "INPUT.CROP.PROB": 0.7,
        "INPUT.RESIZE_ROUNDING": "down",
    },
    "everything": {
        "INPUT.CROP.TYPE": "absolute",
        "INPUT.CROP.SIZE": [60, 150],
        "INPUT.ROTATION": 20.0,
        "INPUT.ROTATION_PROB": 0.5,
        "INPUT.COARSE_DROPOUT_PROB": 0.5,
        "INPUT.COLOR.BRIGHTNESS": 0.2,
        "INPUT.COLOR.CONTRAST": 0.2,
        "INPUT.COLOR.SATURATION": 0.2,
    },
}


def photograph(size=SIZE):
    """Noise with soft and hard edges, (H, W, 3) uint8."""
    image = np.random.randint(0, 256, (*size, 3), dtype=np.uint8)
    image[: size[0] // 2] = 255
    image[:, size[1] // 3 : size[1] // 2] //= 3
    return image


def augmented(overrides, given, boxes, seed):
    """The input after all augmentations of a configuration, their transforms, and the next random number."""
    cropped = {"INPUT.CROP.ENABLED": "INPUT.CROP.TYPE" in overrides}
    sizes = {"INPUT.MIN_SIZE_TRAIN": (30, 190), "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range"}
    augmentations = build_augmentations(core_cfg(*override_list(cropped | sizes | overrides)), is_train=True)
    np.random.seed(seed)
    transforms = T.AugmentationList(augmentations)(given)
    corners = transforms.apply_coords(boxes.reshape(-1, 2).copy())
    return np.asarray(given.image), given.boxes, corners, np.random.rand()


@pytest.mark.parametrize("source", ["array", "Pillow's image"])
@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_pixels_and_labels_are_those_of_whole_resizes(overrides, source):
    pixels = photograph()
    given = pixels if source == "array" else Image.fromarray(pixels)
    before = pixels.copy()
    boxes = np.array([[10.0, 20, 60, 90], [50, 5, 120, 70]])
    color = 2 if "INPUT.COLOR.CONTRAST" in overrides else 0  # these changes enlarge a rounding
    for seed in range(25):
        expected = augmented(overrides, T.AugInput(pixels, boxes=boxes.copy()), boxes, seed)
        actual = augmented(overrides, DeferredInput(given, boxes.copy()), boxes, seed)
        assert actual[0].shape == expected[0].shape
        assert actual[0].dtype == np.uint8
        assert np.abs(actual[0].astype(int) - expected[0]).max() <= 1 + color
        for one, other in zip(actual[1:], expected[1:], strict=True):
            assert np.array_equal(one, other)
    assert np.array_equal(pixels, before)
    assert np.array_equal(given, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (33, 57)])
@pytest.mark.parametrize("new", [(1, 1), (7, 90), (64, 3)])
def test_windows_of_any_size_and_at_every_edge(size, new):
    pixels = photograph(size)
    resize = T.ResizeTransform(*size, *new)
    whole = resize.apply_image(pixels).astype(int)
    deferred = DeferredImage(pixels).transformed(resize)
    assert deferred.shape == whole.shape
    assert np.array_equal(deferred.array(), whole)
    height, width = new
    for x, y, w, h in [(0, 0, 1, 1), (width - 1, height - 1, 1, 1), (width // 2, 0, width, height // 2 + 1)]:
        crop = T.CropTransform(x, y, w, h)
        window = DeferredImage(pixels).transformed(T.TransformList([resize, crop, T.HFlipTransform(w)]))
        expected = crop.apply_image(whole)[:, ::-1]
        assert window.shape == expected.shape
        assert np.abs(window.array() - expected).max() <= 1


def test_a_crop_of_a_crop_is_computed_at_once():
    pixels = photograph()
    steps = [
        T.ResizeTransform(*SIZE, 190, 260),
        T.CropTransform(30, 20, 100, 90),
        T.CropTransform(5, 7, 40, 50),
    ]
    deferred = DeferredImage(pixels).transformed(T.TransformList(steps))
    whole = steps[0].apply_image(pixels).astype(int)
    assert deferred.shape == (50, 40, 3)
    assert np.abs(deferred.array() - whole[27:77, 35:75]).max() <= 1


def test_an_augmentation_takes_it_for_an_array():
    pixels = photograph()
    image = DeferredImage(Image.fromarray(pixels))
    assert image.shape == pixels.shape
    assert image.mean() == pixels.mean()
    assert image.ndim == 3
    assert np.array_equal(np.asarray(image), pixels)
    for duplicate in (copy.copy(image), pickle.loads(pickle.dumps(image))):
        assert np.array_equal(duplicate.array(), pixels)


def test_only_the_window_is_computed(monkeypatch):
    sizes = []
    resize = Image.Image.resize

    def counted(image, size, *arguments):
        sizes.append(size)
        return resize(image, size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", counted)
    overrides = CASES["absolute crop"] | {
        "INPUT.MIN_SIZE_TRAIN": (400,),
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    }
    boxes = np.array([[10.0, 20, 60, 90]])
    image, *_ = augmented(overrides, DeferredInput(photograph(), boxes), boxes, 0)
    assert image.shape == (60, 70, 3)
    assert sizes == [(70, 60)]
