"""The readers of offsets at given cells, against offsets of the whole map."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from fcpose.basis import SharedMaps
from fcpose.refinement import GeneratedOffsetReader, SharedOffsetReader
from posecore.modeling.fcos.detector import DensePredictions
from posecore.modeling.fcos.locations import SelectedLocations, make_locations
from posecore.modeling.keypoint_network import KeypointNetworks

SIZES, STRIDE, K = ((4, 6), (2, 3)), 8, 5
SELECTED = SelectedLocations(torch.tensor([0, 1, 1]), torch.tensor([7, 2, 25]))
CELLS = torch.randint(0, 24, (3, K, 4), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def predictions() -> DensePredictions:
    towers = {"box": [torch.randn(2, 16, *size) for size in SIZES]}
    return DensePredictions({}, towers, {}, [], make_locations(SIZES, (8, 16)))


@pytest.fixture
def shared() -> SharedMaps:
    return SharedMaps(torch.empty(0), torch.randn(2, 8, 4, 6), torch.randn(2, K, 2, 4, 6))


def one_by_one(maps: Tensor) -> Tensor:
    """(Q, K, 2, H, W) -> (Q, K, n, 2) at CELLS."""
    points = [
        [[maps[q, k, :, cell // 6, cell % 6] for cell in CELLS[q, k]] for k in range(K)]
        for q in range(len(SELECTED))
    ]
    return torch.stack([torch.stack([torch.stack(cells) for cells in person]) for person in points])


def test_shared_offsets_are_read_from_the_map_of_the_image(
    predictions: DensePredictions, shared: SharedMaps
) -> None:
    offsets = SharedOffsetReader()(shared, predictions, SELECTED, CELLS)
    assert_close(offsets, one_by_one(shared.offsets[SELECTED.images]))


def test_generated_offsets_equal_a_convolution_of_the_whole_map(
    predictions: DensePredictions, shared: SharedMaps
) -> None:
    networks = KeypointNetworks(16, (8, 2 * K), kernel_size=1, ranges=(64, 128), stride=STRIDE)
    with torch.no_grad():
        networks.controller.weight.mul_(10)
    offsets = GeneratedOffsetReader(networks)(shared, predictions, SELECTED, CELLS)
    own = networks.generate(predictions.towers["box"], predictions.locations, SELECTED)
    everywhere = torch.cat(
        [networks(shared.bases[image], own[[q]]) for q, image in enumerate(SELECTED.images.tolist())]
    )
    assert_close(offsets, one_by_one(everywhere.unflatten(1, (K, 2))) * STRIDE)
    offsets.sum().backward()
    assert networks.controller.weight.grad.abs().sum() > 0


def test_no_persons_have_no_offsets(predictions: DensePredictions, shared: SharedMaps) -> None:
    none = SelectedLocations(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    networks = KeypointNetworks(16, (8, 2 * K), kernel_size=3, ranges=(64, 128), stride=STRIDE)
    for reader in (SharedOffsetReader(), GeneratedOffsetReader(networks)):
        assert reader(shared, predictions, none, CELLS[:0]).shape == (0, K, 4, 2)
