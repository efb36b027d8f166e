"""The losses of FCPose, by hand."""

import math
from dataclasses import replace

import pytest
import torch

from fcpose.losses import (
    KeypointBatch,
    expected_distance,
    heatmap_cross_entropy,
    squared_offset_error,
    squared_own_offset_error,
    upsampled_cross_entropy,
)

HEIGHT, WIDTH, STRIDE = 4, 6, 8


def batch(keypoints: list[list[tuple[float, float, float]]]) -> KeypointBatch:
    """One positive per person, all in one image; logits and offsets are 0."""
    gt_keypoints = torch.tensor(keypoints)
    count, num_keypoints = gt_keypoints.shape[:2]
    return KeypointBatch(
        logits=torch.zeros(count, num_keypoints, HEIGHT, WIDTH),
        weights=torch.ones(count),
        images=torch.zeros(count, dtype=torch.int64),
        boxes=torch.tensor([[0.0, 0.0, 20.0, 20.0]]).repeat(count, 1),
        keypoints=gt_keypoints,
        offsets=torch.zeros(1, num_keypoints, 2, HEIGHT, WIDTH),
        read_offsets=lambda cells: torch.zeros(*cells.shape, 2),
        people=[gt_keypoints],
        stride=STRIDE,
    )


def value(term) -> float:
    return (term.total / term.count).item()


@pytest.mark.parametrize(
    ("point", "cell"),
    [((0, 0), (0, 0)), ((7.99, 8), (1, 0)), ((48, 32), (3, 5)), ((47.9, 0), (0, 5)), ((-1, 40), (3, 0))],
)
def test_a_keypoint_is_in_the_cell_that_it_lies_in_or_the_outermost(point, cell) -> None:
    one = batch([[(*point, 1.0)]])
    one.logits[0, 0, cell[0], cell[1]] = 50
    assert value(heatmap_cross_entropy(one)) == pytest.approx(0, abs=1e-6)


def test_the_mean_is_over_labeled_keypoints() -> None:
    one = batch([[(1, 1, 1), (0, 0, 0)], [(0, 0, 0), (0, 0, 0)]])
    assert value(heatmap_cross_entropy(one)) == pytest.approx(math.log(HEIGHT * WIDTH))
    # The official loss is divided by K, and persons without labels count.
    assert value(upsampled_cross_entropy(one)) == pytest.approx(math.log(16 * HEIGHT * WIDTH) / 4)


def test_positives_of_a_person_share_its_weight() -> None:
    two = batch([[(1, 1, 1)], [(1, 1, 1)]])
    two.logits[0, 0, 0, 0] = 50
    two = replace(two, weights=torch.tensor([0.25, 0.75]))
    assert value(heatmap_cross_entropy(two)) == pytest.approx(0.75 * math.log(HEIGHT * WIDTH))


def test_offsets_are_trained_in_the_cells_around_the_keypoint() -> None:
    one = batch([[(21.0, 14.0, 2.0)]])  # in row 1, column 2
    for row in range(HEIGHT):
        for column in range(WIDTH):
            center = torch.tensor([8 * column + 4.0, 8 * row + 4.0])
            one.offsets[0, 0, :, row, column] = torch.tensor([21.0, 14.0]) - center
    term = squared_offset_error(one)
    assert term.count == 9
    assert term.total == pytest.approx(0)
    one.offsets[0, 0, 0, 2, 3] += 8  # one cell off, in x, at one of nine
    one.offsets[0, 0, 0, 3, 3] += 8  # not one of the nine cells
    assert value(squared_offset_error(one)) == pytest.approx(0.5 / 9)


def test_offsets_in_a_corner_are_trained_in_fewer_cells() -> None:
    assert squared_offset_error(batch([[(1.0, 1.0, 1.0)]])).count == 4
    assert squared_offset_error(batch([[(48.0, 32.0, 1.0)]])).count == 4
    assert squared_offset_error(batch([[(1.0, 1.0, 0.0)]])).count == 0


def test_expected_distance_is_zero_if_the_peak_is_right() -> None:
    one = batch([[(20.0, 12.0, 1.0)]])
    one.logits[0, 0, 1, 2] = 50  # the keypoint is the center of this cell
    assert value(expected_distance(one)) == pytest.approx(0, abs=1e-4)
    one.logits[0, 0, 1, 2] = -50
    assert value(expected_distance(one)) > 0.05


def test_a_distance_of_zero_has_a_finite_gradient() -> None:
    one = batch([[(20.0, 12.0, 1.0)]])
    one.offsets.requires_grad_()
    one.logits.requires_grad_()
    expected_distance(one).total.backward()
    assert one.offsets.grad.isfinite().all()
    assert one.logits.grad.isfinite().all()


@pytest.mark.parametrize(
    "loss",
    [
        heatmap_cross_entropy,
        upsampled_cross_entropy,
        squared_offset_error,
        squared_own_offset_error,
        expected_distance,
    ],
)
def test_without_persons_the_loss_is_zero_and_has_a_gradient(loss) -> None:
    none = replace(
        batch([[(1.0, 1.0, 1.0)]]),
        logits=torch.zeros(0, 1, HEIGHT, WIDTH, requires_grad=True),
        weights=torch.zeros(0),
        images=torch.zeros(0, dtype=torch.int64),
        boxes=torch.zeros(0, 4),
        keypoints=torch.zeros(0, 1, 3),
        offsets=torch.zeros(2, 1, 2, HEIGHT, WIDTH, requires_grad=True),
        read_offsets=lambda cells: torch.zeros(*cells.shape, 2, requires_grad=True),
        people=[torch.zeros(0, 1, 3)] * 2,
    )
    term = loss(none)
    assert term.total == 0
    assert term.count == 0
    term.total.backward()


def test_generated_offsets_are_trained_for_their_own_person() -> None:
    two = batch([[(12, 12, 1)], [(1, 1, 1)]])
    calls = []

    def read(cells: torch.Tensor) -> torch.Tensor:
        calls.append(cells)
        return torch.zeros(*cells.shape, 2)

    two = replace(two, read_offsets=read, weights=torch.tensor([1.0, 0.5]))
    term = squared_own_offset_error(two)
    # The first keypoint has nine cells, of which only its own is right; the second has four on the map.
    first = 6 * (1 + 0) / 2 + 6 * (0 + 1) / 2  # six of nine are one cell beside it in x, six in y
    near, far = (-3 / 8) ** 2, (11 / 8) ** 2
    second = (2 * near + 2 * far) / 2 + (2 * near + 2 * far) / 2
    assert term.count.item() == 9 + 0.5 * 4
    assert term.total.item() == pytest.approx(first + 0.5 * second)
    assert calls[0].shape == (2, 1, 9)
    assert calls[0][0, 0].tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14]
