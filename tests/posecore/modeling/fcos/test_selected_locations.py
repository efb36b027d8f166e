"""Selections of locations."""

import torch

from posecore.modeling.fcos.locations import SelectedLocations


def test_the_rows_of_an_image_are_a_slice() -> None:
    images = torch.tensor([0, 0, 2, 3, 3, 3])
    selected = SelectedLocations(images, torch.arange(6))
    assert [images[here].tolist() for here in selected.by_image(5)] == [[0, 0], [], [2], [3, 3, 3], []]
    assert [len(images[:0][here]) for here in SelectedLocations(images[:0], images[:0]).by_image(2)] == [0, 0]


def test_everywhere_is_every_location_of_every_image() -> None:
    selected = SelectedLocations.everywhere(2, 3)
    assert selected.images.tolist() == [0, 0, 0, 1, 1, 1]
    assert selected.index.tolist() == [0, 1, 2, 0, 1, 2]
    assert selected.by_image(2) == [slice(0, 3), slice(3, 6)]
