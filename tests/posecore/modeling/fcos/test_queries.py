import torch

from posecore.modeling.fcos.queries import Queries


def test_queries_of_a_image_are_a_slice() -> None:
    images = torch.tensor([0, 0, 2, 3, 3, 3])
    queries = Queries(images, torch.arange(6))
    assert [images[here].tolist() for here in queries.in_image(5)] == [[0, 0], [], [2], [3, 3, 3], []]
    assert [len(images[:0][here]) for here in Queries(images[:0], images[:0]).in_image(2)] == [0, 0]


def test_everywhere_is_every_location_of_every_image() -> None:
    queries = Queries.everywhere(2, 3)
    assert queries.images.tolist() == [0, 0, 0, 1, 1, 1]
    assert queries.index.tolist() == [0, 1, 2, 0, 1, 2]
    assert queries.in_image(2) == [slice(0, 3), slice(3, 6)]
