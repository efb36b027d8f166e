"""Augmentations: a dot painted at a point is found where the point is said to go."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from helpers.configs import override_list
from helpers.support import core_cfg

from posecore.data.augment import (
    CoarseDropout,
    CropAroundPerson,
    CropShare,
    CropToSize,
    ResizeRoundingDown,
    build_augmentations,
)


def painted(points, size=(90, 120)):
    """A soft dot at each point (x, y), continuous pixels, on black; (H, W, 3) uint8."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.zeros(size)
    for x, y in points:
        image = np.maximum(image, 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18))
    return np.repeat(image[..., None], 3, axis=2).round().astype(np.uint8)


def found(image):
    """The center of brightness, continuous pixels."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    weights = image[..., 0].astype(float)
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def apply(augmentations, image, boxes=None):
    boxes = np.zeros((0, 4)) if boxes is None else np.asarray(boxes, dtype=float)
    augmented = T.AugInput(image, boxes=boxes)
    return augmented, T.AugmentationList(augmentations)(augmented)


@pytest.mark.parametrize(
    "overrides",
    [
        ["INPUT.MIN_SIZE_TRAIN", (50,)],
        ["INPUT.MIN_SIZE_TRAIN", (131,), "INPUT.MAX_SIZE_TRAIN", 150],
        ["INPUT.ROTATION", 25.0],
        ["INPUT.RANDOM_FLIP", "horizontal"],
        ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [0.6, 0.6]],
        ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [70, 140]],
        ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "person", "INPUT.CROP.SIZE", [1.5, 3.0]],
        [
            *override_list(
                {
                    "INPUT.CROP.ENABLED": True,
                    "INPUT.CROP.TYPE": "absolute_range",
                    "INPUT.CROP.SIZE": [90, 200],
                    "INPUT.CROP.RESIZE": (100, 120),
                    "INPUT.CROP.PROB": 0.7,
                    "INPUT.RESIZE_ROUNDING": "down",
                }
            ),
        ],
        ["INPUT.ROTATION", 25.0, "INPUT.ROTATION_PROB", 0.5],
        [
            *override_list(
                {
                    "INPUT.CROP.ENABLED": True,
                    "INPUT.CROP.SIZE": [0.6, 0.6],
                    "INPUT.ROTATION": 10.0,
                    "INPUT.MIN_SIZE_TRAIN": (60, 99),
                    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range",
                    "INPUT.RANDOM_FLIP": "horizontal",
                }
            ),
        ],
    ],
    ids=[
        "smaller",
        "larger",
        "rotation",
        "flip",
        "relative crop",
        "absolute crop",
        "crop around a person",
        "crop of a range",
        "rotation at times",
        "all",
    ],
)
def test_points_go_with_the_image(overrides):
    cfg = core_cfg("INPUT.MIN_SIZE_TRAIN", (90,), "INPUT.RANDOM_FLIP", "none", *overrides)
    augmentations = build_augmentations(cfg, is_train=True)
    point = np.array([61.3, 44.8])
    image = painted([point])
    before = image.copy()
    moved = 0
    for _ in range(12):
        # The box around the dot keeps the crops on it.
        augmented, transforms = apply(augmentations, image, [[50, 35, 72, 55]])
        target = transforms.apply_coords(point[None].copy())[0]
        margin = 8
        if (target > margin).all() and (target < np.array(augmented.image.shape[1::-1]) - margin).all():
            assert found(augmented.image) == pytest.approx(target, abs=0.15)
            moved += not np.allclose(target, point)
    assert moved > 2
    assert np.array_equal(image, before)


def test_range_and_choice_of_sizes():
    image = painted([], (50, 100))
    cfg = core_cfg("INPUT.MIN_SIZE_TRAIN", (40, 60), "INPUT.RANDOM_FLIP", "none")
    sizes = {apply(build_augmentations(cfg, True), image)[0].image.shape[0] for _ in range(30)}
    assert sizes == {40, 60}
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "range"
    sizes = {apply(build_augmentations(cfg, True), image)[0].image.shape[0] for _ in range(60)}
    assert len(sizes) > 10
    assert min(sizes) >= 40
    assert max(sizes) <= 60


def test_evaluation_only_resizes():
    cfg = core_cfg("INPUT.MIN_SIZE_TEST", 30, "INPUT.ROTATION", 90.0, "INPUT.CROP.ENABLED", True)
    (resize,) = build_augmentations(cfg, is_train=False)
    assert apply([resize], painted([], (60, 80)))[0].image.shape == (30, 40, 3)


def test_rotation_comes_first_relative_and_person_crops_before_the_resize_and_absolute_ones_after():
    kinds = {}
    for kind, size in (
        ("person", [1.2, 2.0]),
        ("relative_range", [0.5, 0.5]),
        ("absolute_range", [32, 64]),
        ("absolute", [32, 32]),
    ):
        cfg = core_cfg(
            "INPUT.CROP.ENABLED",
            True,
            "INPUT.CROP.TYPE",
            kind,
            "INPUT.CROP.SIZE",
            size,
            "INPUT.ROTATION",
            5.0,
        )
        kinds[kind] = [type(step).__name__ for step in build_augmentations(cfg, True)]
    assert kinds["person"] == ["RandomRotation", "CropAroundPerson", "ResizeShortestEdge", "RandomFlip"]
    assert kinds["relative_range"] == ["RandomRotation", "CropShare", "ResizeShortestEdge", "RandomFlip"]
    assert kinds["absolute_range"] == [
        "RandomRotation",
        "AugmentationList",
        "ResizeShortestEdge",
        "RandomFlip",
    ]
    assert kinds["absolute"] == ["RandomRotation", "ResizeShortestEdge", "CropToSize", "RandomFlip"]


def test_absolute_crops_start_before_the_corner_of_a_person():
    image = painted([], (400, 500))
    starts = []
    for _ in range(300):
        transform = CropToSize((100, 120), on_person=True).get_transform(
            image, np.array([[200.0, 150, 230, 190]])
        )
        starts.append((transform.x0, transform.y0))
        assert (transform.w, transform.h) == (120, 100)
    low, high = np.min(starts, axis=0), np.max(starts, axis=0)
    assert (low >= [140, 100]).all()
    assert (low <= [145, 105]).all()
    assert (high >= [195, 145]).all()
    assert (high <= [200, 150]).all()


def test_absolute_crops_choose_among_persons_and_stay_in_the_image():
    image = painted([], (200, 200))
    boxes = np.array([[0.0, 0, 20, 20], [190, 190, 200, 200]])
    starts = {CropToSize((60, 60), True).get_transform(image, boxes).x0 for _ in range(50)}
    assert min(starts) == 0
    assert max(starts) == 140


def test_small_images_are_padded_with_black_at_the_right_and_bottom():
    image = np.full((40, 50, 3), 200, dtype=np.uint8)
    augmented, _ = apply([CropToSize((64, 72), True)], image, [[5, 5, 20, 20]])
    assert augmented.image.shape == (64, 72, 3)
    assert (augmented.image[:40, :50] == 200).all()
    assert (augmented.image[40:] == 0).all()
    assert (augmented.image[:, 50:] == 0).all()
    assert augmented.boxes.tolist() == [[5, 5, 20, 20]]


def test_relative_crops_reach_the_center_of_a_person():
    image = painted([], (80, 100))
    sizes = []
    for _ in range(300):
        transform = CropShare((0.4, 0.7), True).get_transform(image, np.array([[90.0, 0, 100, 20]]))
        sizes.append((transform.h, transform.w))
        assert transform.x0 <= 95 <= transform.x0 + transform.w <= 100
        assert transform.y0 <= 10 <= transform.y0 + transform.h <= 80
    heights, widths = np.transpose(sizes)
    assert heights.min() in (32, 33)
    assert widths.min() in (70, 71)
    assert heights.max() == 80
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2


def windows_around(box, sizes, size, count=300):
    """The windows (left, top, right, bottom) that are drawn around one person; (count, 4)."""
    crop, image = CropAroundPerson(sizes), painted([], size)
    drawn = [crop.get_transform(image, np.array([box], dtype=float)) for _ in range(count)]
    return np.array([(w.x0, w.y0, w.x0 + w.w, w.y0 + w.h) for w in drawn])


def test_crops_around_a_person_contain_the_box_and_follow_its_size():
    left, top, right, bottom = windows_around([150, 100, 190, 120], (1.25, 2.0), (300, 400)).T
    assert np.abs((right - left) - (bottom - top)).max() <= 1  # rounding
    assert (right - left).min() in (50, 51)  # 1.25 times the longer side, which is 40
    assert (right - left).max() in (79, 80)
    assert left.min() in range(110, 115)
    assert left.max() == 150
    assert right.min() == 190
    assert top.min() in range(40, 46)
    assert top.max() == 100
    assert bottom.min() == 120


def test_crops_around_a_person_can_be_smaller_than_the_box_and_end_with_the_image():
    left, top, right, bottom = windows_around([10, 20, 90, 70], (0.5, 0.5), (80, 100)).T
    assert set((right - left).tolist()) == {40}
    assert (left.min(), right.max()) == (10, 90)
    assert (top.min(), bottom.max()) == (20, 70)
    left, top, right, bottom = windows_around([10, 20, 90, 70], (3.0, 3.0), (80, 100)).T
    assert (left.min(), top.min(), right.max(), bottom.max()) == (0, 0, 100, 80)


def test_crops_around_persons_choose_among_them():
    crop, image = CropAroundPerson((1.0, 1.0)), painted([], (80, 100))
    boxes = np.array([[0.0, 0, 20, 20], [60, 50, 80, 70]])
    assert {crop.get_transform(image, boxes).x0 for _ in range(50)} == {0, 60}


def test_images_without_persons_are_not_cropped_around_any():
    image = painted([(30, 40)])
    augmented, _ = apply([CropAroundPerson((1.2, 2.0))], image)
    assert np.array_equal(augmented.image, image)


@pytest.mark.parametrize("crop", [CropToSize((30, 30), True), CropShare((0.3, 0.3), True)])
def test_without_persons_the_window_is_anywhere(crop):
    windows = [crop.get_transform(painted([], (80, 100)), np.zeros((0, 4))) for _ in range(60)]
    assert len({(window.x0, window.y0) for window in windows}) > 20
    assert all(window.x0 + window.w <= 100 and window.y0 + window.h <= 80 for window in windows)


@pytest.mark.parametrize("crop", [CropToSize((30, 30), False), CropShare((0.3, 0.3), False)])
def test_crops_anywhere_ignore_persons(crop):
    starts = [
        crop.get_transform(painted([], (80, 100)), np.array([[90.0, 70, 99, 79]])).x0 for _ in range(60)
    ]
    assert min(starts) < 10


@pytest.mark.parametrize("size", [(1, 1), (1, 7)])
def test_tiny_images(size):
    for crop in (CropToSize((4, 4), True), CropShare((0.1, 0.1), True), CropAroundPerson((0.1, 3.0))):
        apply([crop], np.zeros((*size, 3), dtype=np.uint8), [[0, 0, 1, 1]])


def test_colors():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[:, :4], image[:, 4:] = (150, 100, 50), (50, 60, 40)
    for key, kept in (("BRIGHTNESS", "black"), ("CONTRAST", "mean"), ("SATURATION", "gray")):
        cfg = core_cfg("INPUT.MIN_SIZE_TRAIN", (8,), "INPUT.RANDOM_FLIP", "none", f"INPUT.COLOR.{key}", 0.5)
        results = [apply(build_augmentations(cfg, True), image)[0].image for _ in range(10)]
        assert len({result.tobytes() for result in results}) > 5
        for result in results:
            change = result.astype(float) / image
            if kept == "black":
                assert np.ptp(change) < 0.05
            elif kept == "mean":
                assert result.mean() == pytest.approx(image.mean(), abs=1)
            else:
                gray = [0.299, 0.587, 0.114]
                assert result @ gray == pytest.approx(image @ np.array(gray), abs=1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "relative"],
            r"INPUT\.CROP\.TYPE must be one of .*not 'relative'",
        ),
        (
            ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "person", "INPUT.CROP.SIZE", [2.0, 1.2]],
            r"INPUT\.CROP\.SIZE .* such as \(1\.2, 2\.0\), not \[2\.0, 1\.2\]",
        ),
        (
            ["INPUT.RANDOM_FLIP", "vertical"],
            r"INPUT\.RANDOM_FLIP must be one of 'horizontal', 'none', not 'vertical'",
        ),
    ],
)
def test_unknown_options(overrides, message):
    with pytest.raises(ValueError, match=message):
        build_augmentations(core_cfg(*overrides), is_train=True)


@pytest.mark.parametrize(("size", "expected"), [((480, 640), (800, 1066)), ((640, 480), (1066, 800))])
def test_the_longer_side_can_be_rounded_down(size, expected):
    image = painted([], size)
    assert apply([ResizeRoundingDown((800,), 1333, "choice")], image)[0].image.shape[:2] == expected
    cfg = core_cfg("INPUT.MIN_SIZE_TEST", 800, "INPUT.RESIZE_ROUNDING", "down")
    assert apply(build_augmentations(cfg, is_train=False), image)[0].image.shape[:2] == expected
    assert apply([ResizeRoundingDown((0,), 1333, "choice")], image)[0].image.shape[:2] == size


def test_an_unknown_rounding_names_the_key():
    with pytest.raises(ValueError, match=r"INPUT.RESIZE_ROUNDING must be one of 'nearest', 'down'"):
        build_augmentations(core_cfg("INPUT.RESIZE_ROUNDING", "up"), is_train=True)


def test_probabilities_of_rotation_crop_and_dropout():
    image = np.full((60, 80, 3), 200, dtype=np.uint8)
    same = ("INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", (60,))
    for change in (
        ("INPUT.ROTATION", 25.0, "INPUT.ROTATION_PROB", 0.5),
        ("INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [0.5, 0.5], "INPUT.CROP.PROB", 0.5),
        ("INPUT.COARSE_DROPOUT_PROB", 0.5),
    ):
        steps = build_augmentations(core_cfg(*same, *change), is_train=True)
        unchanged = sum(np.array_equal(apply(steps, image)[0].image, image) for _ in range(200))
        assert 60 < unchanged < 140, change


def test_coarse_dropout_blackens_large_cells_and_keeps_points():
    image = np.full((400, 600, 3), 200, dtype=np.uint8)
    before = image.copy()
    shares, by_color = [], 0
    for _ in range(60):
        augmented, transforms = apply([CoarseDropout()], image)
        black = augmented.image == 0
        assert set(np.unique(augmented.image)) <= {0, 200}
        # Rows of one cell are alike: an image of 400 rows has 12 of them at most.
        changes = (np.diff(black.astype(int), axis=0) != 0).any(axis=(1, 2)).sum()
        assert changes < 12
        shares.append(black.mean())
        by_color += not np.array_equal(black[..., 0], black[..., 1])
        assert np.array_equal(transforms.apply_coords(np.array([[3.0, 5.0]])), [[3.0, 5.0]])
    assert 0.08 < np.mean(shares) < 0.17
    assert 15 < by_color < 45
    assert np.array_equal(image, before)
