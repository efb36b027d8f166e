import torch
from hypothesis import given
from hypothesis import strategies as st

from posecore.heatmaps import keypoint_cells


def test_cells_cover_half_open_squares() -> None:
    keypoints = torch.tensor([[[0.0, 0.0, 2.0], [7.99, 8.0, 1.0], [31.9, 15.9, 2.0]]])
    cells = keypoint_cells(keypoints, (2, 4), 8)
    assert cells.columns.tolist() == [[0, 0, 3]]
    assert cells.rows.tolist() == [[0, 1, 1]]
    assert cells.inside.all()


def test_outside_or_not_labelled_has_no_cell() -> None:
    keypoints = torch.tensor([[[-0.1, 4.0, 2.0], [4.0, 16.0, 2.0], [32.0, 4.0, 2.0], [4.0, 4.0, 0.0]]])
    assert not keypoint_cells(keypoints, (2, 4), 8).inside.any()
    assert keypoint_cells(keypoints[:0], (2, 4), 8).inside.shape == (0, 4)


@given(x=st.floats(0, 79.9), y=st.floats(0, 47.9), stride=st.sampled_from([2, 4, 8, 16]))
def test_the_cell_is_the_one_with_the_nearest_centre(x: float, y: float, stride: int) -> None:
    size = (48 // stride, 80 // stride)
    cells = keypoint_cells(torch.tensor([[x, y, 2.0]]), size, stride)
    distance = max(
        abs((cells.columns.item() + 0.5) * stride - x), abs((cells.rows.item() + 0.5) * stride - y)
    )
    assert cells.inside.all()
    assert distance <= stride / 2 + 1e-4
