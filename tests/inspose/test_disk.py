"""The targets of the disk offsets of InsPose, and their errors."""

import math

import pytest
import torch
from torch.testing import assert_close

from inspose.disk import disk_targets, offset_errors

SIZE, STRIDE = (6, 8), 8


def person(*points: tuple[float, float, int]) -> torch.Tensor:
    return torch.tensor([points], dtype=torch.float32)


@pytest.mark.parametrize("radius", [0.75, 1.0, 2.0, 3.0])
def test_a_disk_has_the_cells_whose_centers_it_contains(radius: float) -> None:
    x, y = 21.0, 30.0
    targets = disk_targets([person((x, y, 2))], SIZE, STRIDE, radius)
    expected = {
        (row, column): (x - 8 * column - 4, y - 8 * row - 4)
        for row in range(6)
        for column in range(8)
        if math.hypot(x - 8 * column - 4, y - 8 * row - 4) <= radius * 8
    }
    cells = [divmod(cell, 8) for cell in targets.cells.tolist()]
    assert dict(zip(cells, map(tuple, targets.offsets.tolist()), strict=True)) == expected


@pytest.mark.parametrize("point", [(24.0, 24.0), (23.9, 16.1), (0.0, 0.0), (64.0, 48.0), (20.0, 20.0)])
def test_the_smallest_disk_contains_the_center_of_a_cell(point: tuple[float, float]) -> None:
    assert len(disk_targets([person((*point, 1))], SIZE, STRIDE, 0.71)) >= 1
    with pytest.raises(ValueError, match=r"MODEL\.INSPOSE\.DISK_RADIUS must be at least 0\.71 cells.* 0\.5"):
        disk_targets([person((*point, 1))], SIZE, STRIDE, 0.5)


def test_cells_between_two_persons_have_the_nearer_one_as_target() -> None:
    both = torch.cat([person((20.0, 20.0, 2)), person((44.0, 20.0, 2))])
    targets = disk_targets([both], SIZE, STRIDE, 3.0)
    assert len(targets.cells.unique()) == len(targets)
    columns = targets.cells % 8
    to_the_first = targets.offsets[:, 0] + columns * 8 + 4 == 20
    assert torch.equal(to_the_first, columns <= 3)  # of equally near persons the first


def test_types_and_images_do_not_mix_and_unlabeled_keypoints_do_not_count() -> None:
    people = [
        torch.cat([person((20.0, 20.0, 2), (20.0, 20.0, 1)), person((0.0, 0.0, 0), (44.0, 20.0, 0))]),
        torch.zeros(0, 2, 3),
        person((20.0, 20.0, 0), (20.0, 20.0, 1)),
    ]
    targets = disk_targets(people, SIZE, STRIDE, 1.0)
    places = set(zip(targets.images.tolist(), targets.types.tolist(), strict=True))
    assert places == {(0, 0), (0, 1), (2, 1)}
    assert len(disk_targets([torch.zeros(0, 2, 3)], SIZE, STRIDE, 1.0)) == 0


def test_offset_errors_are_read_at_the_supervised_cells() -> None:
    targets = disk_targets([torch.zeros(0, 2, 3), person((20.0, 20.0, 2), (30.0, 6.0, 1))], SIZE, STRIDE, 2.0)
    offsets = torch.zeros(2, 2, 2, *SIZE)
    offsets.flatten(3)[targets.images, targets.types, :, targets.cells] = targets.offsets + torch.tensor(
        [4.0, -8.0]
    )
    assert_close(offset_errors(offsets, targets, STRIDE), torch.full((len(targets),), (0.5 + 1) / 2))
