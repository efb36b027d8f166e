"""Drawings: the right colors in the right places, and nothing else."""

import json

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances, Keypoints

from posecore.structures.skeleton import Skeleton, load_skeleton
from posecore.visualization.curves import plot_training, read_metrics
from posecore.visualization.poses import draw_heat, draw_links, draw_poses, grid, identity_color

SKELETON = Skeleton(
    name="three",
    keypoints=("chin", "left_hand", "right_hand"),
    flip_pairs=(("left_hand", "right_hand"),),
    limbs=(("chin", "left_hand"), ("chin", "right_hand")),
    sigmas=(0.1, 0.1, 0.1),
)
LEFT, RIGHT, MIDDLE = (255, 150, 30), (40, 150, 255), (110, 220, 90)
POINTS = [[50.5, 20.5, 0.9], [90.5, 80.5, 0.8], [10.5, 80.5, 0.3]]


def detections(keypoints=POINTS, boxes=((5, 10, 95, 90),), scores=(0.75,)):
    poses = Instances((100, 120))
    poses.pred_keypoints = torch.tensor([keypoints], dtype=torch.float32)
    poses.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32))
    poses.scores = torch.tensor(scores)
    return poses


def ground_truth(visibility):
    poses = Instances((100, 120))
    keypoints = torch.tensor(POINTS)
    keypoints[:, 2] = torch.tensor(visibility)
    poses.gt_keypoints = Keypoints(keypoints[None])
    poses.gt_boxes = Boxes(torch.tensor([[5.0, 10, 95, 90]]))
    return poses


def black():
    return np.zeros((100, 120, 3), dtype=np.uint8)


def test_sides_and_limbs_have_their_colors():
    drawn = draw_poses(black(), detections(), SKELETON, boxes=False)
    assert tuple(drawn[20, 50]) == MIDDLE
    assert tuple(drawn[80, 90]) == LEFT
    assert tuple(drawn[80, 10]) == RIGHT
    assert drawn[50, 70] == pytest.approx(LEFT, abs=60)  # half-way on the limbs
    assert drawn[50, 30] == pytest.approx(RIGHT, abs=60)


def test_points_are_pixel_centers():
    drawn = draw_poses(
        black(),
        detections(),
        Skeleton("dots", SKELETON.keypoints, (("left_hand", "right_hand"),), (), (1.0,) * 3),
        boxes=False,
    )
    rows, columns = np.nonzero(drawn[:50].max(axis=2) > 60)
    assert rows.mean() == pytest.approx(20, abs=0.05)
    assert columns.mean() == pytest.approx(50, abs=0.05)


def test_the_input_stays_as_it_is():
    image, poses = black()[:, ::-1], detections()
    before = poses.pred_keypoints.clone()
    draw_poses(image, poses, SKELETON)
    assert not image.any()
    assert torch.equal(poses.pred_keypoints, before)


def test_uncertain_keypoints_are_left_out_with_their_limbs():
    drawn = draw_poses(black(), detections(), SKELETON, threshold=0.5, boxes=False)
    assert not drawn[:, :40].any()
    assert drawn[:, 60:].any()
    assert not draw_poses(black(), detections(), SKELETON, threshold=0.95, boxes=False).any()


def test_hidden_keypoints_of_the_ground_truth_are_rings_and_unlabeled_ones_absent():
    image = np.full((100, 120, 3), 128, dtype=np.uint8)
    drawn = draw_poses(image, ground_truth([2, 1, 0]), SKELETON, boxes=False)
    assert tuple(drawn[20, 50]) == MIDDLE
    assert drawn[80, 90].max() < 60
    assert (drawn[:, :40] == 128).all()


def test_boxes_and_scores():
    plain = draw_poses(black(), detections(), SKELETON, boxes=False)
    boxed = draw_poses(black(), detections(), SKELETON)
    changed = (plain != boxed).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max()) == pytest.approx((3, 89.5), abs=4)  # the label is above the box
    assert (columns.min(), columns.max()) == pytest.approx((4.5, 94.5), abs=2)
    assert draw_poses(black(), ground_truth([2, 2, 2]), SKELETON).any()


def test_larger_persons_get_thicker_lines():
    small = torch.tensor(POINTS) * torch.tensor([0.3, 0.3, 1])
    thin = draw_poses(np.zeros((800, 900, 3), np.uint8), detections(small.tolist()), SKELETON, boxes=False)
    large = torch.tensor(POINTS) * torch.tensor([8.0, 8.0, 1])
    thick = draw_poses(np.zeros((800, 900, 3), np.uint8), detections(large.tolist()), SKELETON, boxes=False)
    # One row through the left limb, half-way.
    assert (thick[400, 450:].max(axis=1) > 60).sum() > 2 * (thin[15, 18:].max(axis=1) > 60).sum()


def test_scaled():
    drawn = draw_poses(black(), detections(), SKELETON, boxes=False, scale=2)
    assert drawn.shape == (200, 240, 3)
    assert tuple(drawn[161, 181]) == LEFT


def test_nobody_and_far_away():
    nobody = Instances((100, 120))
    nobody.pred_keypoints = torch.zeros(0, 3, 3)
    nobody.pred_boxes = Boxes(torch.zeros(0, 4))
    nobody.scores = torch.zeros(0)
    assert not draw_poses(black(), nobody, SKELETON).any()
    far = [[1e9, -1e9, 1.0], [50, 50, 1.0], [-1e9, 30, 1.0]]
    draw_poses(black(), detections(far, boxes=((-1e9, -1e9, 1e9, 1e9),)), SKELETON)


def test_every_shipped_skeleton():
    for name in ("coco_17", "crowdpose_14", "lsp_14", "mpii_16", "coco_wholebody_133"):
        skeleton = load_skeleton(name)
        points = (torch.rand(skeleton.num_keypoints, 3) * 100).tolist()
        assert draw_poses(black(), detections(points), skeleton).any()


def test_heat_is_red_where_it_is_greatest_and_blue_where_least():
    image = np.full((40, 60, 3), 100, dtype=np.uint8)
    before = image.copy()
    heat = np.zeros((4, 6))
    heat[3, 0], heat[0, 5] = 7.0, -2.0
    drawn = draw_heat(image, heat, strength=1.0)
    assert drawn.shape == image.shape
    assert drawn[38, 2].argmax() == 0
    assert drawn[2, 58].argmax() == 2
    assert np.array_equal(image, before)
    assert np.array_equal(draw_heat(image, heat, strength=0.0), image)
    marked = draw_heat(image, np.ones((4, 6)), mark=(30.0, 20.0))
    assert marked[20, 30].tolist() == [230, 30, 30]


def test_grid_places_images_of_several_sizes():
    red, blue = np.zeros((20, 30, 3), np.uint8), np.zeros((40, 10, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    paper = grid([red, blue, red], columns=2)
    assert paper.shape == (2 * 46 + 6, 2 * 36 + 6, 3)
    assert (paper == (255, 0, 0)).all(axis=2).sum() == 2 * 600
    assert (paper == (0, 0, 255)).all(axis=2).sum() == 400
    assert tuple(paper[6, 6]) == (255, 0, 0)
    assert tuple(paper[6, 42]) == (0, 0, 255)
    assert grid([red], columns=4).shape == (32, 42, 3)


def test_grid_captions():
    image = np.zeros((20, 90, 3), np.uint8)
    plain, captioned = grid([image], 1), grid([image], 1, ["ground_truth"])
    assert captioned.shape[0] == plain.shape[0] + 20
    assert captioned[6:26].max() > 150


def test_grid_of_nothing():
    with pytest.raises(ValueError, match="at least one image"):
        grid([], 2)


def test_plot_training(tmp_path):
    lines = [
        {"iteration": step, "total_loss": 3 / (step + 1), "loss_cls": 1.0, "lr": 0.1} for step in range(5)
    ]
    lines += [{"iteration": 4, "keypoints/AP": 12.5}]
    metrics = tmp_path / "metrics.json"
    metrics.write_text("\n".join(map(json.dumps, lines)) + "\n")
    plot_training(metrics, tmp_path / "curve.png")
    drawn = cv2.imread(str(tmp_path / "curve.png"))
    assert drawn.std() > 10
    lines += [{"iteration": 4, "losses/loss_cls": 2.0}, {"iteration": 2, "losses/loss_cls": 2.5}]
    metrics.write_text("\n".join(map(json.dumps, lines)) + "\n")
    plot_training(metrics, tmp_path / "validated.png")
    assert (cv2.imread(str(tmp_path / "validated.png")) != drawn).any(), "losses on test sets are drawn"


@pytest.mark.parametrize("name", ["pckh/Mean", "pck/PCK@0.2", "val/pck_better_sides/PCK@0.2_better_sides"])
def test_the_main_metric_of_every_format_is_plotted(tmp_path, name):
    metrics, drawn = tmp_path / "metrics.json", []
    for metric in (name, "pck/left_knee"):
        lines = [{"iteration": step, "total_loss": 1.0} for step in range(3)] + [
            {"iteration": 2, metric: 40.0}
        ]
        metrics.write_text("\n".join(map(json.dumps, lines)))
        plot_training(metrics, tmp_path / "curve.png")
        drawn.append(cv2.imread(str(tmp_path / "curve.png")))
    assert (drawn[0] != drawn[1]).any()


def test_plot_training_without_losses(tmp_path):
    metrics = tmp_path / "metrics.json"
    metrics.write_text("")
    with pytest.raises(ValueError, match=r"metrics\.json has no loss to plot"):
        plot_training(metrics, tmp_path / "curve.png")


def test_links_are_as_thick_as_their_weights() -> None:
    skeleton = load_skeleton("coco_17")
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    points = np.full((17, 2), 50.0)
    points[1], points[2] = (50, 5), (50, 95)
    weights = np.zeros(17)
    weights[1], weights[2] = 0.8, 0.4
    drawn = draw_links(image, points, weights, 0, skeleton)
    thick, thin = (int((drawn[row] > 0).any(axis=1).sum()) for row in (25, 75))
    assert thick > thin > 0
    assert image.max() == 0
    assert draw_links(image, points, np.zeros(17), 0, skeleton)[25].max() == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300, -1e30, 1e30])
def test_absurd_coordinates_are_no_error(value):
    expected = draw_poses(black(), detections([*POINTS[:2], [10.5, 80.5, 0.0]]), SKELETON)
    keypoints = [*POINTS[:2], [value, 80.5, 0.3]]
    drawn = draw_poses(black(), detections(keypoints), SKELETON)
    if not abs(value) < 1e38:
        assert np.array_equal(drawn, expected)
    draw_poses(black(), detections([[value] * 3] * 3, boxes=((value,) * 4,)), SKELETON)
    draw_links(black(), np.array([[value, 1.0], [5, 5], [9, 9]]), np.ones(3), 0, SKELETON)


def test_a_thin_image_keeps_a_pixel():
    drawn = draw_poses(np.zeros((1, 3000, 3), np.uint8), detections(), SKELETON, scale=480 / 3000)
    assert drawn.shape == (1, 480, 3)


def test_broken_metrics_are_left_out(tmp_path, caplog):
    metrics = tmp_path / "metrics.json"
    lines = [
        '{"iteration": 0, "total_loss": 2.0, "loss_cls": NaN}',
        '{"iteration": 1, "total_loss": 1e300, "keypoints/AP": "high"}',
        '{"iteration": 2, "total_loss": 1.0',
        '{"iteration": 3, "tot{"iteration": 4, "total_loss": 0.5}',
        "null",
        '{"total_loss": 3.0}',
        '{"iteration": 5, "total_loss": 0.25, "keypoints/AP": Infinity}',
        '{"iteration": 6, "total_loss": 0.25, "keypoints/AP": 1' + "0" * 400 + "}",
    ]
    metrics.write_text("\n".join(lines))
    assert [line["iteration"] for line in read_metrics(metrics)] == [0, 1, 5, 6]
    assert "metrics.json: 4 lines are broken and left out, line 3, 4, 5, 6" in caplog.text
    plot_training(metrics, tmp_path / "curve.png")
    assert cv2.imread(str(tmp_path / "curve.png")).std() > 10
    with pytest.raises(FileNotFoundError, match=r"gone\.json does not exist"):
        plot_training(tmp_path / "gone.json", tmp_path / "curve.png")


def test_tracked_persons_have_their_color_and_smoothed_keypoints():
    first, second = identity_color(1), identity_color(2)
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 100
    poses = detections()
    poses.track_ids = torch.tensor([1])
    poses.smoothed_keypoints = poses.pred_keypoints + torch.tensor([0.0, 8, 0])
    drawn = draw_poses(black(), poses, SKELETON)
    assert tuple(drawn[28, 50]) == MIDDLE
    assert tuple(drawn[20, 50]) != MIDDLE
    assert (drawn == first).all(axis=-1).sum() > 200  # the box, its label and the outline
    poses.track_ids = torch.tensor([0])
    assert not (draw_poses(black(), poses, SKELETON) == first).all(axis=-1).any()
