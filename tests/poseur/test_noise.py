"""Which points noise moves, and where to."""

import torch
from helpers.poseur_oracle import tiny
from torch import Tensor

from poseur.noise import no_noise, perturbed_proposals, random_proposals


def proposals() -> Tensor:
    return torch.rand(2, 17, 2) * 1.6 - 0.3


def test_random_proposals_are_anywhere() -> None:
    groups = random_proposals(proposals(), groups=3)
    assert groups.shape == (2, 3, 17, 2)
    assert groups.min() >= 0
    assert groups.max() <= 1
    assert len(groups.unique()) == groups.numel()


def test_few_points_are_moved_the_same_for_all_crops() -> None:
    points = proposals()
    groups = perturbed_proposals(points, groups=3, per_group=4, variance=0.2)
    moved = (groups != points[:, None]).any(dim=-1)
    assert groups.shape == (2, 3, 17, 2)
    assert moved.sum().item() == 2 * 12
    assert torch.equal(moved[0], moved[1])
    assert groups[moved].min() >= -0.7
    assert groups[moved].max() <= 1.7


def test_there_can_be_fewer_points_than_are_to_be_moved() -> None:
    assert perturbed_proposals(proposals()[:, :2], groups=1, per_group=4, variance=0.2).shape == (2, 1, 2, 2)


def test_none() -> None:
    assert no_noise(proposals()).shape == (2, 0, 17, 2)


def test_the_decoder_gets_it_in_training_alone() -> None:
    network = tiny().network
    maps = [torch.randn(2, channels, 8, 6) for channels in (64, 128, 256, 512)]
    assert network.train()(maps).stages["decoder1"].points.shape == (2, 4, 17, 2)
    predictions = network.eval()(maps)
    assert predictions.stages["decoder1"].points.shape == (2, 1, 17, 2)
    assert predictions.result.points.shape == (2, 17, 2)


def test_groups_do_not_see_each_other() -> None:
    network = tiny("MODEL.POSEUR.DROPOUT", 0.0).network.train()
    maps = [torch.randn(2, channels, 8, 6) for channels in (64, 128, 256, 512)]
    plain = network(maps).stages["decoder1"].points
    network.start.noise = lambda points: torch.full((2, 3, 17, 2), 0.5)
    other = network(maps).stages["decoder1"].points
    assert torch.equal(plain[:, 0], other[:, 0])
    assert not torch.equal(plain[:, 1], other[:, 1])
