"""The losses and heatmap targets of DirectPose, by hand."""

import torch
from torch.testing import assert_close

from directpose.losses import (
    SMOOTH_L1_BETA,
    heatmaps_one_per_cell,
    heatmaps_per_type,
    l1_loss,
    mean_keypoint_errors,
    smooth_l1_loss,
)


def test_errors_are_means_over_labeled_keypoints() -> None:
    offsets = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[3.0, 3.0], [1.0, 1.0]]])
    targets = torch.tensor([[[2.0, 4.0], [9.0, 9.0]], [[3.0, 5.0], [1.0, 1.0]]])
    labeled = torch.tensor([[True, False], [True, True]])
    assert_close(mean_keypoint_errors(offsets, targets, labeled, beta=0.0), torch.tensor([1.5, 0.5]))
    smooth = torch.tensor([(1 + 2) / 2 - 1 / 18, (2 - 1 / 18) / 4])
    assert_close(mean_keypoint_errors(offsets, targets, labeled, beta=SMOOTH_L1_BETA), smooth)


def test_unlabeled_targets_give_no_gradient() -> None:
    offsets = torch.zeros(2, 2, 2, requires_grad=True)
    targets = torch.full((2, 2, 2), float("nan"))
    targets[0, 0] = 1
    labeled = torch.tensor([[True, False], [False, False]])
    errors = mean_keypoint_errors(offsets, targets, labeled, beta=0.0)
    errors.sum().backward()
    assert_close(errors.detach(), torch.tensor([1.0, 0.0]))
    assert_close(offsets.grad.abs().sum(dim=2), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_weights_are_the_centerness_of_locations_with_labeled_keypoints() -> None:
    labeled = torch.tensor([[True, True], [True, False], [False, False]])
    centerness = torch.tensor([0.5, 0.75, 1.0])
    # Errors of 2, 4 and 8 cells; the third location has no label.
    offsets = torch.tensor([2.0, 4.0, 8.0])[:, None, None].expand(3, 2, 2)
    term = l1_loss(offsets, torch.zeros(3, 2, 2), labeled, centerness)
    assert_close(term.total, torch.tensor(0.5 * 2 + 0.75 * 4))
    assert_close(term.count, torch.tensor(1.25))
    smooth = smooth_l1_loss(offsets, torch.zeros(3, 2, 2), labeled, centerness)
    half = SMOOTH_L1_BETA / 2
    assert_close(smooth.total, torch.tensor(2 * 0.5 * (2 - half) + 0.75 * (4 - half)))
    assert_close(smooth.count, torch.tensor(1.75))


def test_heatmap_targets_at_the_edges() -> None:
    person = torch.tensor([[[0.0, 0.0, 2.0], [15.99, 7.9, 1.0], [16.0, 8.0, 2.0], [9.0, 9.0, 0.0]]])
    targets = heatmaps_per_type([person, person[:0]], (2, 2), 8)
    # (16, 8) lies on the border beyond the last column, (9, 9) is not labeled.
    assert targets.nonzero().tolist() == [[0, 0, 0, 0], [0, 1, 0, 1]]


def test_one_type_per_cell_keeps_the_last_type() -> None:
    persons = torch.tensor([[[4.0, 4.0, 2.0], [5.0, 5.0, 2.0]], [[3.0, 3.0, 2.0], [12.0, 4.0, 2.0]]])
    both = heatmaps_per_type([persons], (1, 2), 8)
    one = heatmaps_one_per_cell([persons], (1, 2), 8)
    assert both[0, :, 0].tolist() == [[1, 0], [1, 1]]
    assert one[0, :, 0].tolist() == [[1, 0], [0, 1]]
