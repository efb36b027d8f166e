import torch
from torch.testing import assert_close

from directpose.losses import heatmap_targets, keypoint_errors, keypoint_weights


def test_errors_are_means_over_labeled_keypoints() -> None:
    offsets = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[3.0, 3.0], [1.0, 1.0]]])
    targets = torch.tensor([[[2.0, 4.0], [9.0, 9.0]], [[3.0, 5.0], [1.0, 1.0]]])
    labeled = torch.tensor([[True, False], [True, True]])
    assert_close(keypoint_errors(offsets, targets, labeled, smooth=False), torch.tensor([1.5, 0.5]))
    smooth = torch.tensor([(1 + 2) / 2 - 1 / 18, (2 - 1 / 18) / 4])
    assert_close(keypoint_errors(offsets, targets, labeled, smooth=True), smooth)


def test_what_is_not_labeled_has_no_gradient_whatever_it_holds() -> None:
    offsets = torch.zeros(2, 2, 2, requires_grad=True)
    targets = torch.full((2, 2, 2), float("nan"))
    targets[0, 0] = 1
    labeled = torch.tensor([[True, False], [False, False]])
    errors = keypoint_errors(offsets, targets, labeled, smooth=False)
    errors.sum().backward()
    assert_close(errors.detach(), torch.tensor([1.0, 0.0]))
    assert_close(offsets.grad.abs().sum(dim=2), torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_weights_are_centerness_where_something_is_labeled() -> None:
    labeled = torch.tensor([[True, True], [True, False], [False, False]])
    middle = torch.tensor([0.5, 1.0, 1.0])
    assert_close(keypoint_weights(middle, labeled, count_keypoints=False), torch.tensor([0.5, 1.0, 0.0]))
    assert_close(keypoint_weights(middle, labeled, count_keypoints=True), torch.tensor([1.0, 1.0, 0.0]))


def test_heatmap_targets_at_the_edges() -> None:
    person = torch.tensor([[[0.0, 0.0, 2.0], [15.99, 7.9, 1.0], [16.0, 8.0, 2.0], [9.0, 9.0, 0.0]]])
    targets = heatmap_targets([person, person[:0]], (2, 2), 8, one_per_cell=False)
    # (16, 8) lies on the border beyond the last column, (9, 9) is not labeled.
    assert targets.nonzero().tolist() == [[0, 0, 0, 0], [0, 1, 0, 1]]


def test_one_type_per_cell_is_the_last_written() -> None:
    persons = torch.tensor([[[4.0, 4.0, 2.0], [5.0, 5.0, 2.0]], [[3.0, 3.0, 2.0], [12.0, 4.0, 2.0]]])
    both = heatmap_targets([persons], (1, 2), 8, one_per_cell=False)
    one = heatmap_targets([persons], (1, 2), 8, one_per_cell=True)
    assert both[0, :, 0].tolist() == [[1, 0], [1, 1]]
    assert one[0, :, 0].tolist() == [[1, 0], [0, 1]]
