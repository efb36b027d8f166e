import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from posecore.structures.heatmaps import gaussian_heatmaps, keypoint_cells, nearest_cells


def test_cells_cover_half_open_squares() -> None:
    keypoints = torch.tensor([[[0.0, 0.0, 2.0], [7.99, 8.0, 1.0], [31.9, 15.9, 2.0]]])
    cells = keypoint_cells(keypoints, (2, 4), 8)
    assert cells.columns.tolist() == [[0, 0, 3]]
    assert cells.rows.tolist() == [[0, 1, 1]]
    assert cells.inside.all()


def test_outside_or_not_labeled_has_no_cell() -> None:
    keypoints = torch.tensor([[[-0.1, 4.0, 2.0], [4.0, 16.0, 2.0], [32.0, 4.0, 2.0], [4.0, 4.0, 0.0]]])
    assert not keypoint_cells(keypoints, (2, 4), 8).inside.any()
    assert keypoint_cells(keypoints[:0], (2, 4), 8).inside.shape == (0, 4)


@given(x=st.floats(0, 79.9), y=st.floats(0, 47.9), stride=st.sampled_from([2, 4, 8, 16]))
def test_the_cell_is_the_one_with_the_nearest_center(x: float, y: float, stride: int) -> None:
    size = (48 // stride, 80 // stride)
    cells = keypoint_cells(torch.tensor([[x, y, 2.0]]), size, stride)
    distance = max(
        abs((cells.columns.item() + 0.5) * stride - x), abs((cells.rows.item() + 0.5) * stride - y)
    )
    assert cells.inside.all()
    assert distance <= stride / 2 + 1e-4


def test_the_nearest_cell_of_a_labeled_keypoint_is_on_the_map() -> None:
    keypoints = torch.tensor([[[32.0, 16.0, 2.0], [-3.0, 4.0, 1.0], [9.0, 9.0, 2.0], [99.0, 99.0, 0.0]]])
    cells = nearest_cells(keypoints, (2, 4), 8)
    assert cells.columns.tolist() == [[3, 0, 1, 3]]
    assert cells.rows.tolist() == [[1, 0, 1, 1]]
    assert cells.inside.tolist() == [[True, True, True, False]]


def test_gaussians_are_one_at_keypoints_and_merged_by_the_maximum() -> None:
    keypoints = torch.tensor([[[4.0, 4.0, 2.0], [4.0, 4.0, 0.0]], [[20.0, 4.0, 1.0], [12.0, 12.0, 1.0]]])
    cells = keypoint_cells(keypoints, (2, 4), 8)
    near, side = torch.exp(torch.tensor([-0.5, -0.125])).tolist()
    maps = gaussian_heatmaps(cells, (2, 4), torch.tensor([[1.0], [2.0]]), torch.tensor([[1], [1]]))
    expected = [[1.0, max(near, side), 1.0, side], [near, max(near**2, side**2), side, side**2]]
    assert_close(maps[0], torch.tensor(expected))
    assert maps[1, 1].tolist()[1] == 1
    assert maps[1, 0, 3] == 0
    assert gaussian_heatmaps(keypoint_cells(keypoints[:0], (2, 4), 8), (2, 4), 1.0, 1).shape == (2, 2, 4)
