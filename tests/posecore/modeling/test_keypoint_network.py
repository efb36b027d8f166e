"""GeneratedNetworks where they are generated, and peaks found in blocks."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from posecore.modeling.fcos.head import flatten_levels
from posecore.modeling.fcos.locations import SelectedLocations, make_locations
from posecore.modeling.keypoint_network import GeneratedNetworks, KeypointNetworks, gather_patches
from posecore.structures.heatmaps import cell_cross_entropy

SIZES = ((4, 6), (2, 3), (1, 2))


def make(kernel_size: int = 1, num_keypoints: int = 17) -> KeypointNetworks:
    widths = (32, 32, 32, num_keypoints)
    return KeypointNetworks(16, widths, kernel_size=kernel_size, ranges=(64, 128, 1333), stride=8)


def some(count: int, generator: KeypointNetworks) -> GeneratedNetworks:
    parameters = torch.randn(count, generator.layers.num_parameters)
    return GeneratedNetworks(parameters, torch.rand(count, 2) * 100, torch.full((count,), 64.0))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_networks_are_what_a_convolution_everywhere_would_give(kernel_size: int) -> None:
    generator = make(kernel_size)
    maps = [torch.randn(2, 16, *size) for size in SIZES]
    locations = make_locations(SIZES, (8, 16, 32))
    selected = SelectedLocations.everywhere(2, len(locations))
    networks = generator.generate(maps, locations, selected)
    everywhere = flatten_levels([generator.controller(level) for level in maps])
    assert_close(networks.parameters, everywhere.flatten(0, 1))
    assert torch.equal(networks.points, locations.points.repeat(2, 1))
    assert networks.ranges.unique().tolist() == [64, 128, 1333]


def test_patches_carry_gradient_only_where_they_look() -> None:
    maps = [torch.randn(2, 16, *size, requires_grad=True) for size in SIZES]
    selected = SelectedLocations(torch.tensor([1]), torch.tensor([8]))
    gather_patches(maps, make_locations(SIZES, (8, 16, 32)), selected, 3).sum().backward()
    expected = torch.zeros(2, 16, 4, 6)
    expected[1, :, 0:3, 1:4] = 1
    assert torch.equal(maps[0].grad, expected)
    assert maps[1].grad.abs().sum() == 0


def test_relative_coordinates_point_from_the_cell_to_the_location() -> None:
    networks = GeneratedNetworks(torch.zeros(1, 1), torch.tensor([[20.0, 4.0]]), torch.tensor([64.0]))
    relative = make().relative_coordinates(networks, (2, 3))
    assert_close(relative[0, 0], torch.tensor([16.0, 8.0, 0.0]).expand(2, 3) / 64)
    assert_close(relative[0, 1], torch.tensor([[0.0], [-8.0]]).expand(2, 3) / 64)


@pytest.mark.parametrize("count", [0, 1, 7, 50])
@pytest.mark.parametrize("size", [(9, 13), (40, 40)])
@torch.no_grad()
def test_peaks_in_blocks_are_those_of_the_plain_form(count: int, size: tuple[int, int]) -> None:
    generator = make()
    bases, networks = torch.randn(32, *size), some(count, generator)
    logits = generator(bases, networks).flatten(2)
    for block in (1, 3, 16, 64):
        peaks = generator.peaks(bases, networks, block)
        assert torch.equal(peaks.cells, logits.argmax(dim=2))
        assert torch.equal(generator.peak_cells(bases, networks, block).cells, peaks.cells)
        assert peaks.width == size[1]
        assert_close(peaks.logits, logits.amax(dim=2))
        assert_close(peaks.probability, F.softmax(logits, dim=2).amax(dim=2))


def test_no_more_than_a_block_of_heatmaps_exists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make()
    counts = []
    layers = generator.layers

    def counted(own: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        counts.append(len(own))
        return layers(own, *rest)

    monkeypatch.setattr(generator, "layers", counted)
    generator.peaks(
        torch.randn(32, 4, 4), GeneratedNetworks(torch.randn(40, 2737), torch.rand(40, 2), torch.ones(40))
    )
    assert counts == [4] * 10


@pytest.mark.parametrize("count", [0, 7])
def test_losses_in_blocks_are_those_of_the_plain_form(count: int) -> None:
    generator = make()
    bases, networks = torch.randn(32, 9, 13, requires_grad=True), some(count, generator)
    networks.parameters.requires_grad_()
    keypoints = torch.rand(count, 17, 3) * torch.tensor([13 * 8.0, 9 * 8.0, 2.0])
    plain = cell_cross_entropy(generator(bases, networks), keypoints, 8)
    weights = torch.rand_like(plain)
    expected = torch.autograd.grad((plain * weights).sum(), (bases, networks.parameters))
    for block in (1, 3, 16):
        losses = generator.cross_entropy(bases, networks, keypoints, block)
        assert_close(losses, plain)
        found = torch.autograd.grad((losses * weights).sum(), (bases, networks.parameters))
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_no_heatmap_is_kept_for_the_gradient() -> None:
    """What autograd keeps grows by a network's parameters, not by its heatmaps."""
    generator = make()
    bases = torch.randn(32, 20, 30, requires_grad=True)

    def kept(count: int) -> int:
        networks, keypoints = some(count, generator), torch.rand(count, 17, 3) * 100
        networks.parameters.requires_grad_()
        sizes = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            generator.cross_entropy(bases, networks, keypoints)
        return sum(sizes.values())

    assert kept(64) - kept(16) < 17 * 20 * 30


def test_peaks_may_be_sought_in_enlarged_heatmaps() -> None:
    generator = make()
    bases, networks = torch.randn(32, 9, 13), some(20, generator)
    enlarge = torch.nn.Upsample(scale_factor=2, mode="bicubic")
    peaks = generator.peak_cells(bases, networks, 16, enlarge)
    assert peaks.width == 26
    assert torch.equal(peaks.cells, enlarge(generator(bases, networks)).flatten(2).argmax(dim=2))
