"""The mapper: what a sample holds, and that it holds the ground truth."""

import copy

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from helpers.configs import override_list
from helpers.support import core_cfg

from posecore.data.augment import build_augmentations
from posecore.data.formats.coco import dataset_dicts, read_coco
from posecore.data.mapper import BOX_RULES, PoseMapper
from posecore.structures.skeleton import Skeleton, load_skeleton

HANDS = Skeleton("hands", ("left", "right", "chin"), (("left", "right"),), (), (0.1, 0.1, 0.1))
LEFT, RIGHT, CHIN = (30.5, 40.5), (80.25, 20.5), (60.5, 70.75)
COLORS = {"red": 0, "green": 1, "blue": 2}


def person(keypoints, bbox=(10, 10, 90, 70), iscrowd=0, area=3000.0):
    return {
        "bbox": list(bbox),
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 0,
        "iscrowd": iscrowd,
        "area": area,
        "keypoints": [float(value) for point in keypoints for value in point],
    }


@pytest.fixture
def sample(tmp_path):
    """An image with a red, a green and a blue dot at the left hand, the right hand and the chin."""
    rows, columns = np.mgrid[:100, :120] + 0.5
    dots = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8) for x, y in (LEFT, RIGHT, CHIN)]
    image = (255 * np.stack(dots, axis=-1)).round().astype(np.uint8)
    path = tmp_path / "dots.png"
    cv2.imwrite(str(path), image[..., ::-1])
    people = [person([(*LEFT, 2), (*RIGHT, 1), (*CHIN, 2)])]
    return {"file_name": str(path), "image_id": 5, "height": 100, "width": 120, "annotations": people}


def mapper(*augmentations, **changes):
    parts = {"labeled": True, "skeleton": HANDS, "image_format": "RGB"} | changes
    boxes = BOX_RULES[parts.pop("boxes", "keypoints")]
    return PoseMapper(augmentations=list(augmentations), boxes=boxes, **parts)


def dot(image, color):
    """Where the dot of a color is in an image (3, H, W), RGB; continuous pixels."""
    weights = image[COLORS[color]].double()
    rows, columns = torch.meshgrid(*(torch.arange(size) + 0.5 for size in weights.shape), indexing="ij")
    return [float((columns * weights).sum() / weights.sum()), float((rows * weights).sum() / weights.sum())]


def test_nothing_changed(sample):
    before = copy.deepcopy(sample)
    mapped = mapper()(sample)
    assert sample == before
    assert mapped.keys() == {"file_name", "image_id", "height", "width", "image", "instances"}
    assert (mapped["image_id"], mapped["height"], mapped["width"]) == (5, 100, 120)
    assert mapped["image"].shape == (3, 100, 120)
    assert mapped["image"].dtype == torch.uint8
    instances = mapped["instances"]
    assert instances.image_size == (100, 120)
    assert instances.gt_classes.tolist() == [0]
    assert instances.gt_keypoints.tensor.tolist() == [[[*LEFT, 2], [*RIGHT, 1], [*CHIN, 2]]]
    assert instances.gt_boxes.tensor.tolist() == [[29.5, 19.5, 81.25, 71.75]]


def test_a_flip_swaps_left_and_right(sample):
    """In a flipped image the hand that was the left one looks like a right one."""
    mapped = mapper(T.RandomFlip(1.0))(sample)
    left, right, chin = mapped["instances"].gt_keypoints.tensor[0]
    assert right[:2].tolist() == pytest.approx(dot(mapped["image"], "red"), abs=0.1)
    assert left[:2].tolist() == pytest.approx(dot(mapped["image"], "green"), abs=0.1)
    assert chin[:2].tolist() == pytest.approx(dot(mapped["image"], "blue"), abs=0.1)
    assert [left[2], right[2], chin[2]] == [1, 2, 2]
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[120 - 81.25, 19.5, 120 - 29.5, 71.75]]


def test_two_flips_swap_nothing(sample):
    mapped = mapper(T.RandomFlip(1.0), T.RandomFlip(1.0))(sample)
    assert torch.equal(
        mapped["instances"].gt_keypoints.tensor, mapper()(sample)["instances"].gt_keypoints.tensor
    )


def test_two_flips_in_one_step_swap_nothing(sample):
    twice = T.TransformList([T.HFlipTransform(120), T.HFlipTransform(120)])
    mapped = mapper(twice)(sample)["instances"]
    assert torch.equal(mapped.gt_keypoints.tensor, mapper()(sample)["instances"].gt_keypoints.tensor)


def test_a_whole_configuration_keeps_points_on_their_dots(sample, tmp_path):
    skeleton = tmp_path / "hands.yaml"
    content = {"name": "hands", "keypoints": ["left", "right", "chin"], "sigmas": [0.1] * 3}
    skeleton.write_text(yaml.safe_dump(content | {"flip_pairs": [["left", "right"]], "limbs": []}))
    cfg = core_cfg(
        *override_list(
            {
                "DATASETS.SKELETON": str(skeleton),
                "INPUT.FORMAT": "RGB",
                "INPUT.ROTATION": 20.0,
                "INPUT.MIN_SIZE_TRAIN": (150, 250),
                "INPUT.MIN_SIZE_TRAIN_SAMPLING": "range",
                "INPUT.CROP.ENABLED": True,
                "INPUT.CROP.SIZE": [0.8, 0.8],
            }
        ),
    )
    mapped_all = [PoseMapper(cfg, is_train=True)(sample) for _ in range(20)]
    flipped = checked = 0
    for mapped in mapped_all:
        (keypoints,) = mapped["instances"].gt_keypoints.tensor.tolist()
        height, width = mapped["image"].shape[1:]
        red = dot(mapped["image"], "red")
        swapped = np.hypot(*np.subtract(red, keypoints[0][:2])) > np.hypot(
            *np.subtract(red, keypoints[1][:2])
        )
        order = ("green", "red", "blue") if swapped else ("red", "green", "blue")
        flipped += swapped
        for (x, y, v), color in zip(keypoints, order, strict=True):
            if v and 15 < x < width - 15 and 15 < y < height - 15:
                assert dot(mapped["image"], color) == pytest.approx([x, y], abs=0.5)
                checked += 1
    assert 0 < flipped < 20
    assert checked > 20


def test_no_labeled_keypoint_lies_on_a_black_border(sample):
    """What a rotation turns out of the image must not come back where a crop is padded."""
    cv2.imwrite(sample["file_name"], np.full((100, 120, 3), 255, np.uint8))
    points = [(x + 0.5, y + 0.5, 2) for x in range(0, 120, 17) for y in range(0, 100, 16)]
    sample["annotations"] = [person(points[i : i + 3]) for i in range(0, len(points) - 2, 3)]
    cfg = core_cfg(
        *override_list(
            {
                "INPUT.MIN_SIZE_TRAIN": (100,),
                "INPUT.ROTATION": 40.0,
                "INPUT.CROP.ENABLED": True,
                "INPUT.CROP.TYPE": "absolute",
                "INPUT.CROP.SIZE": [130, 90],
            }
        ),
    )
    augmentations = build_augmentations(cfg, is_train=True)
    for _ in range(10):
        mapped = mapper(*augmentations)(sample)
        keypoints = mapped["instances"].gt_keypoints.tensor.reshape(-1, 3)
        x, y, _ = keypoints[keypoints[:, 2] > 0].long().T
        inner = (x > 1) & (x < 88) & (y > 1) & (y < 128)
        assert inner.sum() > 5
        assert (mapped["image"].max(dim=0).values[y, x][inner] > 0).all()


def test_points_and_persons_that_leave_the_image(sample):
    sample["annotations"].append(person([(110.5, 90.5, 2), (0, 0, 0), (115.5, 95.5, 2)]))
    mapped = mapper(T.CropTransform(20, 30, 50, 50))(sample)["instances"]
    assert len(mapped) == 1
    assert mapped.gt_keypoints.tensor.tolist() == [[[10.5, 10.5, 2], [0, 0, 0], [40.5, 40.75, 2]]]
    assert mapped.gt_boxes.tensor.tolist() == [[9.5, 0, 50, 41.75]]


def test_annotations_beyond_the_image_are_cut(sample):
    sample["annotations"] = [
        person([(-3.5, 40.5, 2), (80.5, 99.75, 1), (120, 70.5, 2)], bbox=(-10, 50, 90, 80))
    ]
    mapped = mapper(boxes="annotated")(sample)["instances"]
    assert mapped.gt_boxes.tensor.tolist() == [[0, 50, 80, 100]]
    assert mapped.gt_keypoints.tensor.tolist() == [[[0, 0, 0], [80.5, 99.75, 1], [0, 0, 0]]]


def test_a_person_may_keep_a_box_without_a_keypoint(sample):
    mapped = mapper(T.CropTransform(40, 30, 20, 20))(sample)["instances"]
    assert mapped.gt_keypoints.tensor.tolist() == [[[0, 0, 0]] * 3]
    assert mapped.gt_boxes.tensor.tolist() == [[0, 0, 20, 20]]


def test_nobody_left(sample):
    mapped = mapper(T.CropTransform(100, 80, 20, 20))(sample)["instances"]
    assert len(mapped) == 0
    assert mapped.gt_boxes.tensor.shape == (0, 4)
    assert mapped.gt_keypoints.tensor.shape == (0, 3, 3)
    assert mapped.gt_classes.dtype == torch.int64


@pytest.mark.parametrize("boxes", ["keypoints", "annotated", "keypoints_or_annotated"])
def test_nobody_at_all(sample, boxes):
    sample["annotations"] = []
    cfg = core_cfg("INPUT.CROP.ENABLED", True, "INPUT.ROTATION", 5.0, "INPUT.BOXES", boxes)
    mapped = PoseMapper(cfg, is_train=True)(sample)["instances"]
    assert mapped.gt_keypoints.tensor.shape == (0, 17, 3)


def test_crowds_are_dropped(sample):
    sample["annotations"].append(person([(0, 0, 0)] * 3, iscrowd=1))
    for boxes in ("keypoints", "annotated"):
        assert len(mapper(boxes=boxes)(sample)["instances"]) == 1


def test_persons_without_keypoints_have_annotated_boxes_only(sample):
    sample["annotations"].append(person([(0.5, 0.5, 0)] * 3, bbox=(1, 2, 30, 40)))
    assert len(mapper()(sample)["instances"]) == 1
    both = mapper(boxes="annotated")(sample)["instances"]
    assert both.gt_boxes.tensor.tolist() == [[10, 10, 100, 80], [1, 2, 31, 42]]
    assert both.gt_keypoints.tensor[1].tolist() == [[0, 0, 0]] * 3


def test_areas_grow_with_the_image(sample):
    sample["annotations"].append(person([(30.5, 30.5, 2), (50.5, 60.5, 2), (0, 0, 0)], area=500.0))
    assert mapper()(sample)["instances"].gt_areas.tolist() == [3000, 500]
    steps = [T.ResizeTransform(100, 120, 150, 240), T.HFlipTransform(240), T.CropTransform(0, 0, 239, 149)]
    moved = mapper(*steps)(sample)["instances"]
    assert moved.gt_areas.tolist() == pytest.approx([9000, 1500])
    turned = mapper(T.RotationTransform(100, 120, 30, expand=False))(sample)["instances"]
    assert turned.gt_areas.tolist() == pytest.approx([3000, 500])


def test_boxes_no_wider_than_the_keypoints_or_annotated(sample):
    """As in InsPose's official code: persons with a single keypoint, or all in a row, are left out."""
    hidden = [(0.5, 0.5, 0)] * 3
    sample["annotations"] += [
        person(hidden, bbox=(1, 2, 30, 40)),
        person([(30.5, 30.5, 2), *hidden[:2]]),
        person([(30.5, 30.5, 2), (80.5, 30.5, 1), hidden[0]]),
        person(hidden, bbox=(1, 2, 30, 0.5)),
        person(hidden, bbox=(1, 2, 30, 40), area=0.0),
        person([(*LEFT, 2)] * 3, iscrowd=1),
    ]
    found = mapper(boxes="keypoints_or_annotated")(sample)["instances"]
    assert found.gt_boxes.tensor.tolist() == [[30.5, 20.5, 80.25, 70.75], [1, 2, 31, 42]]


def test_channels_in_the_order_of_the_configuration(sample):
    rgb, bgr = (mapper(image_format=order)(sample)["image"] for order in ("RGB", "BGR"))
    assert torch.equal(rgb.flip(0), bgr)
    assert not torch.equal(rgb, bgr)
    assert rgb[0, int(LEFT[1]), int(LEFT[0])] > 250


def test_evaluation_needs_and_gives_no_ground_truth(sample):
    del sample["annotations"]
    cfg = core_cfg("INPUT.MIN_SIZE_TEST", 50, "INPUT.ROTATION", 20.0)
    mapped = PoseMapper(cfg, is_train=False)(sample)
    assert mapped["image"].shape == (3, 50, 60)
    assert (mapped["height"], mapped["width"]) == (100, 120)
    assert "instances" not in mapped


def test_gray_images_become_color(sample):
    image = cv2.imread(sample["file_name"], cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(sample["file_name"], image)
    assert mapper()(sample)["image"].shape == (3, 100, 120)


def test_real_annotations(shared):
    folder = shared / "data" / "coco"
    skeleton = load_skeleton("coco_17")
    dicts = dataset_dicts(read_coco(folder / "person_keypoints.json", skeleton), folder)
    whole = mapper(skeleton=skeleton)
    assert [len(whole(record)["instances"]) for record in dicts] == [
        sum(item["num_keypoints"] > 0 for item in record["annotations"]) for record in dicts
    ]


def test_a_missing_image_is_named(sample):
    sample["file_name"] = "/nowhere/gone.jpg"
    with pytest.raises(FileNotFoundError, match=r"image /nowhere/gone\.jpg does not exist"):
        mapper()(sample)


@pytest.mark.parametrize("keep", [0, 20, 600])
def test_a_broken_image_is_named(sample, keep):
    with open(sample["file_name"], "rb+") as file:
        file.truncate(keep)
    with pytest.raises(ValueError, match=r"image .*dots\.png cannot be read"):
        mapper()(sample)


def test_a_truncated_jpeg_is_named(sample, tmp_path):
    path = tmp_path / "cut.jpg"
    cv2.imwrite(str(path), np.random.randint(0, 255, (100, 120, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"image .*cut\.jpg cannot be read"):
        mapper()(sample | {"file_name": str(path)})


def test_another_size_than_stated(sample):
    sample["width"] = 121
    with pytest.raises(
        ValueError, match=r"dots\.png is 120 wide and 100 high, but its annotation says 121 and 100"
    ):
        mapper()(sample)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("INPUT.BOXES", "real", r"INPUT\.BOXES must be one of 'keypoints', .*not 'real'"),
        ("INPUT.FORMAT", "YUV-BT.601", r"INPUT\.FORMAT must be one of 'BGR', 'RGB', not 'YUV-BT\.601'"),
    ],
)
def test_unknown_options(key, value, message):
    with pytest.raises(ValueError, match=message):
        PoseMapper(core_cfg(key, value), is_train=True)


def test_an_image_too_thin_for_the_resize_is_named(tmp_path):
    path = tmp_path / "thin.png"
    cv2.imwrite(str(path), np.zeros((1, 3000, 3), np.uint8))
    thin = {"file_name": str(path), "image_id": 5, "height": 1, "width": 3000, "annotations": []}
    for rounding in ("nearest", "down"):
        with pytest.raises(
            ValueError,
            match=r"image .*thin\.png: it is 3000 wide and 1 high, .* make it (1333|0) wide and 0 high",
        ):
            PoseMapper(core_cfg("INPUT.RESIZE_ROUNDING", rounding), is_train=False)(thin)


def test_the_limit_of_pixels_is_that_of_the_configuration(sample):
    with pytest.raises(
        ValueError, match=r"dots\.png cannot be read: it is 120 x 100; .*INPUT\.MAX_PIXELS = 11999"
    ):
        PoseMapper(core_cfg("INPUT.MAX_PIXELS", 11999), is_train=False)(sample)
