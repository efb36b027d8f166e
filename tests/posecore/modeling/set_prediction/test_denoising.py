"""Denoising queries: whose they are, what sees them, and how far they are from the ground truth."""

import torch
from helpers.set_prediction import K, persons_of, predictions, targets
from torch.testing import assert_close

from posecore.modeling.set_prediction.denoising import Denoiser

WIDTH = 8


def test_every_person_has_a_query_in_every_group() -> None:
    persons = persons_of(targets(2, 0, 3))
    noised = Denoiser(WIDTH, groups=2, noise=0.0)(persons, 3)
    assert noised.keypoints.shape == (3, 2 * 3, K, 2)
    assert noised.features.shape == (3, 2 * 3, WIDTH)
    assert noised.persons.tolist() == [0, 1, 2, 3, 4] * 2
    assert noised.images.tolist() == [0, 0, 2, 2, 2] * 2
    assert noised.slots.tolist() == [0, 1, 0, 1, 2, 3, 4, 3, 4, 5]
    assert noised.groups.tolist() == [0, 0, 0, 1, 1, 1]
    assert (~noised.absent).sum(dim=1).tolist() == [4, 0, 6]
    visible = persons.poses.visibility[noised.persons] > 0
    found = noised.keypoints[noised.images, noised.slots]
    expected = persons.poses.keypoints[noised.persons].clamp(0, 1)
    assert_close(found[visible], expected[visible])
    centers = persons.poses.centers[noised.persons][:, None].expand_as(found)
    assert_close(found[~visible], centers[~visible])


def test_noise_is_relative_to_the_size_of_the_person() -> None:
    persons = persons_of(targets(1, size=(960, 1280)))
    denoiser = Denoiser(WIDTH, groups=4000, noise=0.1)
    exact = Denoiser(WIDTH, groups=1, noise=0.0).noised(persons)
    pixels = (denoiser.noised(persons) - exact) * persons.sizes[0]
    inside = ((exact > 0.2) & (exact < 0.8)).expand_as(pixels)
    expected = 0.1 * persons.areas.sqrt().item()
    assert abs(pixels[inside].std().item() / expected - 1) < 0.05


def test_other_queries_see_no_denoising_query() -> None:
    noised = Denoiser(WIDTH, groups=2, noise=0.1)(persons_of(targets(2, 1)), 2)
    hidden = noised.hidden(3)
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[:3, 3:] = True  # the others
    expected[3:5, 5:] = True  # the first group
    expected[5:, 3:5] = True  # the second one
    assert torch.equal(hidden.pairs, expected)
    assert hidden.absent.tolist() == [[False] * 7, [False] * 4 + [True, False, True]]


def test_matches_name_the_person_of_every_query() -> None:
    persons = persons_of(targets(2, 1))
    noised = Denoiser(WIDTH, groups=2, noise=0.1)(persons, 2)
    found = predictions(3, 2, 4)
    part, matches = noised.select(found), noised.matches(3)
    assert part.logits.shape == (3, 1, 6, 2)
    assert matches.num_groups == 2
    assert len(matches.persons) == 18
    for index in range(18):
        layer, image, query = (part_of[index].item() for part_of in matches.index)
        assert image == 0
        person = matches.persons[index].item()
        assert person == [0, 1, 2][query % 3]
        group, slot = query // 3, [0, 1, 0][person]
        assert torch.equal(
            part.logits[layer, 0, query], found.logits[layer, persons.images[person], 2 * group + slot]
        )


def test_nobody_in_any_image() -> None:
    noised = Denoiser(WIDTH, groups=2, noise=0.1)(persons_of(targets(0, 0)), 2)
    assert noised.keypoints.shape == (2, 2, K, 2)
    assert noised.absent.all()
    part = noised.select(predictions(2, 2, 2))
    assert part.logits.shape == (2, 1, 0, 2)
    assert len(noised.matches(2).persons) == 0
