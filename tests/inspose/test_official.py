"""The parts that only the official model of InsPose has, on small examples by hand."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.image_samples import sample
from helpers.inspose_oracle import OFFICIAL, count_networks, tiny
from helpers.model_contract import detections
from torch import Tensor
from torch.testing import assert_close

from inspose.official.losses import (
    pose_quality,
    regression_errors,
    square_targets,
    tag_errors,
    varifocal_errors,
)
from inspose.official.star import StarBranch, Steering, tap_indices
from inspose.official.trunk import PixelTrunk
from posecore.structures.skeleton import load_skeleton


def person(*points: tuple[float, float, float]) -> Tensor:
    """The keypoints of one person, (1, K, 3)."""
    return torch.tensor([points])


def at(feature: Tensor, points: Tensor) -> Tensor:
    """A map (1, C, H, W) sampled bilinearly at points (H, W, 2) -> (C, H, W).

    Points are in cells; (0, 0) is the center of the first cell.
    """
    size = torch.tensor([feature.shape[3], feature.shape[2]])
    grid = (points + 0.5) / size * 2 - 1
    return F.grid_sample(feature, grid[None], padding_mode="zeros", align_corners=False)[0]


@pytest.mark.parametrize("size", [(5, 7), (2, 2)])
def test_every_tap_samples_at_its_keypoint(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    taps = (3, 0, 2, 1, 1, 4, 0, 3, 2)
    branch = StarBranch(6, 4, 0, "")
    feature = torch.randn(1, 4, *size)
    keypoints = 1.5 * torch.randn(1, 10, *size)
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in size), indexing="ij")
    own = torch.stack([columns, rows], dim=-1)
    expected = torch.zeros(4, *size)
    with torch.no_grad():
        for index, keypoint in enumerate(taps):
            sampled = at(feature, own + keypoints[0, 2 * keypoint : 2 * keypoint + 2].permute(1, 2, 0))
            expected += torch.einsum("oi,ihw->ohw", branch.star[:, :, index // 3, index % 3], sampled)
        actual = branch.steered(feature, Steering(taps)(keypoints))[0]
    assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_a_tenth_of_the_gradient_reaches_the_keypoints() -> None:
    keypoints = torch.randn(1, 10, 2, 2, requires_grad=True)
    Steering([0] * 9)(keypoints).sum().backward()
    assert_close(keypoints.grad[:, :2], torch.full((1, 2, 2, 2), 0.9))  # nine taps
    assert (keypoints.grad[:, 2:] == 0).all()


def test_the_default_taps_are_those_of_the_official_code() -> None:
    names = tiny(config=OFFICIAL).detector.head.steering.taps
    assert names == [0, 5, 6, 9, 10, 11, 12, 15, 16]


def test_a_keypoint_may_be_named_for_several_taps() -> None:
    names = ["nose"] * 8 + ["left_eye"]
    assert tap_indices(load_skeleton("coco_17"), names) == (0,) * 8 + (1,)


def test_varifocal_loss_weights_persons_by_their_quality() -> None:
    probability = torch.tensor([[0.3, 0.3, 0.8]])
    quality = torch.tensor([[0.6, 0.0, 0.1]])
    expected = torch.tensor(
        [
            [
                -0.6 * (0.6 * torch.tensor(0.3).log() + 0.4 * torch.tensor(0.7).log()),
                -0.75 * 0.09 * torch.tensor(0.7).log(),
                -0.1 * (0.1 * torch.tensor(0.8).log() + 0.9 * torch.tensor(0.2).log()),
            ]
        ]
    )
    assert_close(varifocal_errors(probability.logit(), quality), expected)


def test_pose_quality_by_hand() -> None:
    """Exact peaks, a peak two cells right of its keypoint, and any peaks of a person without labels."""
    keypoints = torch.cat(
        [
            person((12.0, 20.0, 2), (40.0, 33.0, 1), (0.0, 0.0, 0)),
            person((12.0, 20.0, 2), (40.0, 33.0, 1), (0.0, 0.0, 0)),
            person((0.0, 0.0, 0), (0.0, 0.0, 0), (0.0, 0.0, 0)),
        ]
    )
    exact = torch.tensor([2 * 8 + 1, 4 * 8 + 5, 7])
    cells = torch.stack([exact, exact + torch.tensor([2, 0, 0]), exact])
    sigmas, areas = torch.tensor([0.05, 0.1, 0.2]), torch.tensor([90.0, 90.0, 90.0])
    quality = pose_quality(cells, keypoints, areas, sigmas, size=(6, 8), stride=8)
    off = torch.exp(torch.tensor(-(2.0**2) / (2 * 90 * 0.1**2)))
    assert_close(quality, torch.stack([torch.tensor(1.0), (1 + off) / 2, torch.tensor(0.1)]))


def test_a_keypoint_on_the_border_is_in_the_outermost_cell() -> None:
    keypoints = person((64.0, 48.0, 2))
    area, sigma = torch.tensor([100.0]), torch.tensor([0.1])
    assert pose_quality(torch.tensor([[47]]), keypoints, area, sigma, size=(6, 8), stride=8) == 1


def test_regressed_keypoints_are_relative_to_the_location_in_cells() -> None:
    gt_keypoints = person((36.0, 20.0, 2), (28.0, 32.0, 1))
    predicted = torch.tensor([[[0.5, 0.0], [0.0, 1.0]]])
    errors = regression_errors(predicted, gt_keypoints, torch.tensor([[24.0, 24.0]]), torch.tensor([16.0]))
    assert_close(errors, torch.tensor([[(0.25 + 0.25) / 2, (0.25 + 0.5) / 2]]))


def test_offsets_are_trained_in_squares_that_grow_with_the_person() -> None:
    small, large = person((50.0, 50.0, 2)), person((61.0, 35.0, 1))
    boxes = torch.tensor([[0.0, 0.0, 40.0, 40.0], [0.0, 0.0, 100.0, 100.0]])
    targets = square_targets([torch.cat([small, large])], [boxes], (30, 40), 4)
    # The radii are 0 and 2, and the squares do not overlap.
    cells = {(cell // 40, cell % 40) for cell in targets.cells.tolist()}
    assert cells == {(12, 12)} | {(row, column) for row in range(6, 11) for column in range(13, 18)}
    centers = torch.stack([targets.cells % 40, targets.cells // 40], dim=-1) * 4.0 + 2
    ends = {tuple(point) for point in (centers + targets.offsets).tolist()}
    assert ends == {(50.0, 50.0), (61.0, 35.0)}


def test_cells_of_two_persons_have_the_person_nearer_to_their_corner() -> None:
    """As in the official code, distances are measured from the upper left corner of a cell."""
    persons = torch.cat([person((40.5, 40.5, 2)), person((47.9, 40.5, 2))])
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0]]).repeat(2, 1)
    targets = square_targets([persons], [boxes], (30, 40), 4)
    middle = targets.cells == 10 * 40 + 11  # its corner is at (44, 40), its center at (46, 42)
    assert middle.sum() == 1
    assert_close(targets.offsets[middle], torch.tensor([[40.5 - 46, 40.5 - 42]]))
    assert len(targets) == 5 * (5 + 1)


def test_pull_and_push_errors_of_tags_by_hand() -> None:
    """A tag is read one cell left of and above the cell of its keypoint."""
    tags = torch.zeros(2, 2, 6, 8)
    tags[0, 0, 1, 2], tags[0, 1, 3, 4] = 1.0, 3.0  # first person: mean 2, variance 1
    tags[0, 0, 4, 6] = 2.5  # the second has one labeled keypoint
    first = person((12.0, 8.0, 2), (20.0, 16.0, 1))
    second = person((28.0, 20.0, 2), (0.0, 0.0, 0))
    unlabeled = person((0.0, 0.0, 0), (0.0, 0.0, 0))
    errors = tag_errors(tags, [torch.cat([first, second, unlabeled]), unlabeled], 4)
    assert_close(errors.pull, torch.tensor((1.0 + 0.0) / 2))
    # Both ordered pairs are counted, and the sum is divided by twice their number.
    assert_close(errors.push, torch.tensor(2 * 2.71828182845904 ** -(0.5**2) / (2 * 2)))


def test_tags_of_keypoints_at_the_border_are_read_on_the_map() -> None:
    """The official code reads the tags at the opposite border of the map."""
    tags = torch.zeros(1, 2, 6, 8)
    tags[0, 0, 5, 7] = 100.0
    assert tag_errors(tags, [person((1.0, 1.0, 2), (9.0, 9.0, 2))], 4).pull == 0


def test_a_single_person_has_no_push_error() -> None:
    tags = torch.randn(1, 2, 6, 8)
    assert tag_errors(tags, [person((12.0, 8.0, 2), (20.0, 16.0, 1))], 4).push == 0


@pytest.mark.parametrize("size", [(3, 5), (1, 1)])
def test_the_trunk_is_twice_as_fine_as_its_level(size: tuple[int, int]) -> None:
    trunk = PixelTrunk(4, 8, 5, norm="GN", stride=8, prior_prob=0.1)
    feature = torch.randn(2, 4, *size)
    maps = trunk(feature)
    fine = 2 * size[0], 2 * size[1]
    assert trunk.stride == 4
    assert maps.heatmaps.shape == maps.tags.shape == (2, 5, *fine)
    assert maps.offsets.shape == (2, 5, 2, *fine)
    assert_close(trunk.offsets(feature), maps.offsets)


def test_predicted_offsets_are_relative_to_the_corner_of_a_cell() -> None:
    """Our offsets start at the center of a cell, so a prediction of zero is minus half a cell, in pixels."""
    trunk = PixelTrunk(4, 8, 5, norm="GN", stride=8, prior_prob=0.1)
    torch.nn.init.zeros_(trunk.predict_offsets.weight)
    assert (trunk.offsets(torch.randn(1, 4, 3, 5)) == -2).all()


def test_only_classification_depends_on_the_areas() -> None:
    model = tiny(config=OFFICIAL).eval()
    inputs = sample(3, 3)
    boxes = inputs["instances"].gt_boxes
    losses = {}
    for share in (0.53, 0.01):
        inputs["instances"].gt_areas = share * boxes.area()
        losses[share] = model.compute_losses([inputs])
    inputs["instances"].remove("gt_areas")
    without = model.compute_losses([inputs])
    assert {name for name in without if losses[0.53][name] != losses[0.01][name]} == {"loss_cls"}
    assert without == losses[0.53]


def test_networks_are_generated_only_for_kept_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Non-maximum suppression acts on the boxes of the regressed keypoints, before networks are generated."""
    model = tiny("MODEL.FCOS.SCORE_THRESH", 0.0, "TEST.DETECTIONS_PER_IMAGE", 7, config=OFFICIAL).eval()
    counts = count_networks(model, monkeypatch)
    result = detections(model, [sample(0, 1), sample(1, 1)])
    assert counts == [7, 7]
    assert all((one.scores[1:] <= one.scores[:-1]).all() for one in result)


def test_boxes_are_those_of_the_regressed_keypoints_inside_the_image() -> None:
    model = tiny("MODEL.FCOS.SCORE_THRESH", 0.0, config=OFFICIAL).eval()
    with torch.no_grad():
        model.detector.head.keypoints.weight.zero_()
        model.detector.head.keypoints.bias.copy_(torch.tensor([-1.0, 0.0, *[0.5] * 30, 2.0, 1.0]))
    (result,) = detections(model, [sample(0, 1, (90, 121))])
    boxes = result.pred_boxes.tensor
    size = torch.tensor([121.0, 90.0, 121.0, 90.0])
    finest = (boxes[:, 2] - boxes[:, 0] == 24) & (boxes[:, 3] - boxes[:, 1] == 8)  # 3 x 1 cells of stride 8
    assert finest.any()
    assert_close((boxes[finest][:, :2] - 4) % 8, torch.zeros(int(finest.sum()), 2))
    assert ((boxes >= 0) & (boxes <= size)).all()


@pytest.mark.parametrize("size", [(97, 131), (33, 200)])
def test_odd_sizes_train_and_predict(size: tuple[int, int]) -> None:
    model = tiny("MODEL.FCOS.SCORE_THRESH", 0.0, config=OFFICIAL).train()
    batch = [sample(0, 2, size), sample(1, 0, (64, 65))]
    assert all(loss.isfinite() for loss in model(batch).values())
    result = detections(model.eval(), batch)
    assert [one.image_size for one in result] == [size, (64, 65)]
    assert all(one.pred_keypoints.isfinite().all() and len(one) for one in result)


def test_training_on_one_image_lowers_the_losses() -> None:
    model = tiny(config=OFFICIAL).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    history = []
    for _ in range(25):
        losses = model([sample(3, 2)])
        history.append({name: loss.item() for name, loss in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    for name in ("loss_keypoint", "loss_keypoint_reg", "loss_heatmap", "loss_disk_offset", "loss_ae_push"):
        assert history[-1][name] < 0.8 * history[0][name], name


def test_a_skeleton_without_the_taps_names_the_key_and_its_keypoints(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"MODEL\.INSPOSE\.OFFICIAL\.TAPS .*'crowdpose_14' lacks: \['nose'\]"
    ):
        tiny("DATASETS.SKELETON", "crowdpose_14", config=OFFICIAL)
