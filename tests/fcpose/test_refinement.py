"""Offsets at chosen cells, against the same computed everywhere."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fcpose.basis import SharedMaps
from fcpose.refinement import PersonalRefinement, SharedRefinement
from posecore.modeling.fcos.estimator import Dense
from posecore.modeling.fcos.locations import make_locations
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.keypoint_network import KeypointNetworks

SIZES, STRIDE, K = ((4, 6), (2, 3)), 8, 5
QUERIES = Queries(torch.tensor([0, 1, 1]), torch.tensor([7, 2, 25]))
CELLS = torch.randint(0, 24, (3, K, 4), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def dense() -> Dense:
    towers = {"box": [torch.randn(2, 16, *size) for size in SIZES]}
    return Dense({}, towers, make_locations(SIZES, (8, 16)))


@pytest.fixture
def shared() -> SharedMaps:
    return SharedMaps(torch.empty(0), torch.randn(2, 8, 4, 6), torch.randn(2, K, 2, 4, 6))


def one_by_one(maps: Tensor) -> Tensor:
    """(Q, K, 2, H, W) -> (Q, K, n, 2) at CELLS."""
    points = [
        [[maps[q, k, :, cell // 6, cell % 6] for cell in CELLS[q, k]] for k in range(K)]
        for q in range(len(QUERIES))
    ]
    return torch.stack([torch.stack([torch.stack(cells) for cells in person]) for person in points])


def test_shared_offsets_are_those_of_the_image(dense: Dense, shared: SharedMaps) -> None:
    offsets = SharedRefinement()(shared, dense, QUERIES, CELLS)
    assert_close(offsets, one_by_one(shared.offsets[QUERIES.images]))


def test_personal_offsets_are_a_generated_convolution_at_the_cells(dense: Dense, shared: SharedMaps) -> None:
    networks = KeypointNetworks(16, (8, 2 * K), kernel_size=1, ranges=(64, 128), stride=STRIDE)
    with torch.no_grad():
        networks.controller.weight.mul_(10)
    offsets = PersonalRefinement(networks)(shared, dense, QUERIES, CELLS)
    own = networks.generate(dense.towers["box"], dense.locations, QUERIES)
    everywhere = torch.cat(
        [networks(shared.bases[image], own[[q]]) for q, image in enumerate(QUERIES.images.tolist())]
    )
    assert_close(offsets, one_by_one(everywhere.unflatten(1, (K, 2))) * STRIDE)
    offsets.sum().backward()
    assert networks.controller.weight.grad.abs().sum() > 0


def test_nobody_has_no_offsets(dense: Dense, shared: SharedMaps) -> None:
    nobody = Queries(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    networks = KeypointNetworks(16, (8, 2 * K), kernel_size=3, ranges=(64, 128), stride=STRIDE)
    for refinement in (SharedRefinement(), PersonalRefinement(networks)):
        assert refinement(shared, dense, nobody, CELLS[:0]).shape == (0, K, 4, 2)
