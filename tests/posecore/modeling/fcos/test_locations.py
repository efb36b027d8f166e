"""The locations of a feature pyramid."""

import torch

from posecore.modeling.fcos.locations import make_locations


def test_locations_are_the_centers_of_cells_row_by_row() -> None:
    locations = make_locations([(2, 3), (1, 2)], [8, 16])
    assert locations.points.tolist() == [
        [4, 4],
        [12, 4],
        [20, 4],
        [4, 12],
        [12, 12],
        [20, 12],
        [8, 8],
        [24, 8],
    ]
    assert locations.strides.tolist() == [8] * 6 + [16] * 2
    assert locations.levels.tolist() == [0] * 6 + [1] * 2
    assert locations.starts == (0, 6)
    assert len(locations) == 8


def test_a_level_may_be_empty() -> None:
    locations = make_locations([(0, 3), (1, 1)], [8, 16])
    assert torch.equal(locations.points, torch.tensor([[8.0, 8.0]]))
