"""Which images show nearly the same, and splits that keep them together."""

import cv2
import numpy as np
import pytest

from posecore.data.near_duplicates import SIDE, image_bits, near_duplicates, split_groups


def drawn(seed, size=(120, 90)):
    """An image of smooth random shapes."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0, 255, (7, 7, 3)).astype(np.float32)
    return cv2.resize(small, size, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def test_a_smaller_darker_noisier_copy_is_a_near_duplicate():
    image = drawn(0)
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    copies = [
        cv2.resize(image, (60, 45), interpolation=cv2.INTER_AREA),
        (image * 0.8).astype(np.uint8),
        (image + noise).clip(0, 255).astype(np.uint8),
        image[2:, 2:],
    ]
    bits = [image_bits(item) for item in [drawn(1), image, drawn(2), *copies]]
    groups = near_duplicates(np.stack(bits))
    assert groups[1] == groups[3] == groups[4] == groups[5] == groups[6]
    assert len(set(groups.tolist())) == 3


def test_groups_are_linked_by_pairs_whatever_the_distance_of_their_ends():
    """Each row differs from the next in 3 bits; the last is alone."""
    bits = np.zeros((6, 32), dtype=bool)
    for row in range(5):
        bits[row, : 3 * row] = True
    bits[5, 16:] = True
    assert near_duplicates(bits, max_difference=3).tolist() == [0, 0, 0, 0, 0, 1]
    assert near_duplicates(bits, max_difference=2).tolist() == [0, 1, 2, 3, 4, 5]


def test_groups_are_those_of_plain_loops():
    rng = np.random.default_rng(3)
    bits = rng.uniform(size=(60, 12)) < 0.5
    groups = near_duplicates(bits, max_difference=2)
    expected = list(range(len(bits)))
    for i, one in enumerate(bits):
        for j, other in enumerate(bits):
            if sum(a != b for a, b in zip(one, other, strict=True)) <= 2:
                old, new = expected[j], expected[i]
                expected = [new if group == old else group for group in expected]
    same = np.equal.outer(expected, expected)
    assert (np.equal.outer(groups, groups) == same).all()
    assert 1 < len(set(expected)) < 60, "the random case must say something"


def test_one_image():
    bits = image_bits(drawn(0, size=(5, 3)))
    assert bits.shape == (SIDE * SIDE,)
    assert near_duplicates(bits[None]).tolist() == [0]


@pytest.mark.parametrize("seed", range(3))
def test_splits_keep_groups_whole(seed):
    groups = np.random.default_rng(seed).integers(0, 30, 100)
    _, groups = np.unique(groups, return_inverse=True)
    chosen = split_groups(groups, 20, seed)
    assert 15 <= chosen.sum() <= 20
    assert not set(groups[chosen].tolist()) & set(groups[~chosen].tolist())
    assert (split_groups(groups, 20, seed) == chosen).all()
    assert (split_groups(groups, 20, seed + 1) != chosen).any()


def test_a_group_that_does_not_fit_is_passed_over():
    groups = [0, 0, 0, 0, 1, 2]
    for seed in range(5):
        assert split_groups(groups, 2, seed).tolist() == [False] * 4 + [True] * 2
    assert split_groups([0, 0], 1, seed=0).tolist() == [False, False]
