"""KPAlign against the plain form of the paper: locate, sample all channels at all locations, and predict."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from directpose.kpalign import SAMPLE_FROM, KPAlign
from directpose.naive import NaiveKeypointBranch
from posecore.modeling.fcos.locations import SelectedLocations, make_locations

SIZES, STRIDES = [(7, 9), (4, 5), (2, 3)], [8, 16, 32]
LOCATIONS = make_locations(SIZES, STRIDES)
GROUPS = ((0, 4), (2,), (1, 3, 5))


def plain(kpalign: KPAlign, groups: tuple, maps: list[Tensor]) -> Tensor:
    """(N, R, K, 2) keypoints by grid_sample, one level and group at a time, without early projection."""
    features = [kpalign.sampler(level) for level in maps]
    results = []
    for level, stride in enumerate(STRIDES):
        height, width = SIZES[level]
        located = kpalign.locator(maps[level])
        keypoints = torch.zeros(len(maps[0]), len(kpalign.place), 2, height, width)
        for group, members in enumerate(groups):
            source = kpalign.sample_from(level, group)
            ratio = stride // STRIDES[source]
            channels = features[source]
            if kpalign.separate:
                channels = channels.chunk(len(groups), dim=1)[group]
            base = located[:, 2 * group : 2 * group + 2]
            rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            x = ratio * (columns + base[:, 0]) + ratio // 2
            y = ratio * (rows + base[:, 1]) + ratio // 2
            size = torch.tensor([channels.shape[3], channels.shape[2]])
            grid = (2 * torch.stack([x, y], dim=-1) + 1) / size - 1
            sampled = F.grid_sample(channels, grid, align_corners=False)
            predicted = kpalign.predictors[group](sampled).unflatten(1, (-1, 2))
            keypoints[:, list(members)] = predicted / ratio + base[:, None]
        results.append(keypoints.flatten(3).permute(0, 3, 1, 2))
    return torch.cat(results, dim=1)


def make(separate: bool, sample_from: str, aligner: bool = True) -> tuple[KPAlign, list[Tensor]]:
    kpalign = KPAlign(
        tower=nn.Identity(),
        channels=12,
        groups=GROUPS,
        separate=separate,
        sample_from=SAMPLE_FROM[sample_from],
        aligner=aligner,
    )
    if aligner:  # large enough that some points are partly or wholly outside the map
        torch.nn.init.normal_(kpalign.locator.weight, std=0.5)
    for predictor in kpalign.predictors:
        torch.nn.init.normal_(predictor.bias)
    return kpalign, [torch.randn(2, 12, *size, requires_grad=True) for size in SIZES]


def gradients(result: Tensor, kpalign: KPAlign, maps: list[Tensor]) -> list[Tensor]:
    weight = torch.linspace(-1, 1, result.numel()).view_as(result)
    return list(torch.autograd.grad((result * weight).sum(), [*kpalign.parameters(), *maps]))


@pytest.mark.parametrize(("separate", "sample_from"), [*itertools.product([True, False], SAMPLE_FROM)])
def test_equals_the_plain_form_including_gradients(separate: bool, sample_from: str) -> None:
    kpalign, maps = make(separate, sample_from)
    expected = plain(kpalign, GROUPS, maps)
    everywhere = SelectedLocations.everywhere(2, len(LOCATIONS))
    actual = kpalign(maps, LOCATIONS, everywhere).unflatten(0, (2, -1))
    assert_close(actual, expected, atol=2e-5, rtol=1e-4)
    for one, other in zip(gradients(actual, kpalign, maps), gradients(expected, kpalign, maps), strict=True):
        assert_close(one, other, atol=1e-4, rtol=1e-3)
    outside = kpalign.locator(maps[0]).abs().max()
    assert outside > 9, "some sampled points must be outside the map"


def test_chosen_locations_are_rows_of_the_dense_prediction() -> None:
    kpalign, maps = make(separate=True, sample_from="finer")
    everywhere = kpalign(maps, LOCATIONS, SelectedLocations.everywhere(2, len(LOCATIONS))).unflatten(
        0, (2, -1)
    )
    selected = SelectedLocations(torch.tensor([1, 0, 1, 1]), torch.tensor([88, 0, 63, 88]))
    sparse = kpalign(maps, LOCATIONS, selected)
    assert_close(sparse, everywhere[selected.images, selected.index])
    # A loss on a few locations has the gradients of the dense prediction masked to them.
    for one, other in zip(
        gradients(sparse, kpalign, maps),
        gradients(everywhere[selected.images, selected.index], kpalign, maps),
        strict=True,
    ):
        assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_no_location_gives_every_weight_a_gradient_of_zero() -> None:
    kpalign, maps = make(separate=True, sample_from="finer")
    nothing = torch.empty(0, dtype=torch.int64)
    result = kpalign(maps, LOCATIONS, SelectedLocations(nothing, nothing))
    assert result.shape == (0, 6, 2)
    assert all(gradient.abs().sum() == 0 for gradient in gradients(result, kpalign, maps))


def test_without_the_aligner_features_are_read_at_the_location() -> None:
    kpalign, maps = make(separate=False, sample_from="same", aligner=False)
    result = kpalign(maps, LOCATIONS, SelectedLocations.everywhere(2, len(LOCATIONS))).unflatten(0, (2, -1))
    own = [
        torch.cat([predictor(kpalign.sampler(level)) for predictor in kpalign.predictors], 1)
        for level in maps
    ]
    own = torch.cat([level.flatten(2) for level in own], dim=2).unflatten(1, (-1, 2)).permute(0, 3, 1, 2)
    order = [keypoint for group in GROUPS for keypoint in group]
    assert_close(result[:, :, order], own, atol=1e-5, rtol=1e-4)
    assert list(kpalign.locator.parameters()) == []


def test_positions_stay_float32_under_autocast() -> None:
    kpalign, maps = make(separate=True, sample_from="finer")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tower = [level.bfloat16() for level in maps]
        assert (
            kpalign(tower, LOCATIONS, SelectedLocations.everywhere(2, len(LOCATIONS))).dtype == torch.float32
        )


def test_the_naive_branch_equals_its_convolution_at_the_locations() -> None:
    naive = NaiveKeypointBranch(nn.Identity(), 12, 6)
    maps = [torch.randn(2, 12, *size) for size in SIZES]
    selected = SelectedLocations(torch.tensor([1, 0]), torch.tensor([63 + 7, 10]))
    result = naive(maps, LOCATIONS, selected)
    assert_close(result[0].flatten(), naive.conv(maps[1])[1, :, 1, 2])
    assert_close(result[1].flatten(), naive.conv(maps[0])[0, :, 1, 1])
