"""Swapped sides and limbs that are too long are found among drawn figures, and nobody else is suspected."""

import numpy as np
import pytest
from helpers.skeletons import DOG

from posecore.data.synthetic.figures import figure_maker
from posecore.evaluation.pose_checks import (
    MIN_PERSONS,
    Suspects,
    conditional,
    long_limbs,
    second_moments,
    swapped_pairs,
    turned_persons,
)
from posecore.structures.skeleton import Skeleton, load_skeleton

COCO = load_skeleton("coco_17")
SKELETONS = [COCO, load_skeleton("lsp_14"), load_skeleton("coco_wholebody_133"), DOG]


def people(skeleton: Skeleton, count: int = 120, seed: int = 0):
    """Drawn poses (n, K, 3) of all sizes, all keypoints visible, and their areas."""
    rng = np.random.default_rng(seed)
    make = figure_maker(skeleton)
    sizes = rng.uniform(40, 200, count)
    points = np.stack([make(rng).keypoints * size + rng.uniform(0, 400, 2) for size in sizes])
    keypoints = np.concatenate([points, np.full((*points.shape[:2], 1), 2.0)], axis=2)
    return keypoints, 0.2 * sizes**2 * rng.uniform(0.8, 1.25, count)


def chosen(suspects: Suspects) -> dict[int, tuple[int, ...]]:
    return dict(zip(suspects.persons.tolist(), suspects.keypoints, strict=True))


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("check", [swapped_pairs, turned_persons, long_limbs])
def test_nobody_is_suspected_among_good_poses(check, skeleton: Skeleton) -> None:
    suspects = check(*people(skeleton), skeleton)
    assert (len(suspects.persons), suspects.keypoints) == (0, ())


@pytest.mark.parametrize("part", ["shoulder", "hip", "knee"])
def test_swapped_pairs_are_found_and_named(part: str) -> None:
    keypoints, areas = people(COCO)
    pair = tuple(COCO.keypoints.index(f"{side}_{part}") for side in ("left", "right"))
    swapped = [3, 40, 77, 100]
    rows = np.array(swapped)[:, None]
    keypoints[rows, pair] = keypoints[rows, pair[::-1]]
    found = chosen(swapped_pairs(keypoints, areas, COCO))
    assert set(found) <= set(swapped)
    assert len(found) >= 3
    assert all(meant == pair for meant in found.values())


def test_what_is_not_labeled_is_not_suspected() -> None:
    keypoints, areas = people(COCO)
    pair = [COCO.keypoints.index(f"{side}_knee") for side in ("left", "right")]
    keypoints[40, pair] = keypoints[40, pair[::-1]]
    assert 40 in chosen(swapped_pairs(keypoints, areas, COCO))
    keypoints[40, pair[0]] = 0
    assert 40 not in chosen(swapped_pairs(keypoints, areas, COCO))


def test_persons_whose_sides_are_swapped_as_a_whole() -> None:
    keypoints, areas = people(COCO)
    turned = [2, 50]
    keypoints[turned] = keypoints[turned][:, list(COCO.flip_indices)]
    assert set(chosen(turned_persons(keypoints, areas, COCO))) == set(turned)
    # The rule knows no way up.
    upside_down = keypoints * [-1, -1, 1]
    assert set(chosen(turned_persons(upside_down, areas, COCO))) == set(turned)
    # Somebody who is seen from behind shows no face.
    keypoints[2, COCO.keypoints.index("nose"), 2] = 1
    keypoints[50, COCO.keypoints.index("left_eye")] = 0
    assert not len(turned_persons(keypoints, areas, COCO).persons)


@pytest.mark.parametrize("skeleton", [COCO, SKELETONS[1]], ids=lambda skeleton: skeleton.name)
def test_long_limbs_are_found_whatever_the_area_says(skeleton: Skeleton) -> None:
    keypoints, areas = people(skeleton)
    ankle, knee = (skeleton.keypoints.index(f"left_{part}") for part in ("ankle", "knee"))
    for person in (1, 60):
        keypoints[person, ankle, :2] += 6 * (keypoints[person, ankle, :2] - keypoints[person, knee, :2])
    areas[10] /= 30
    found = chosen(long_limbs(keypoints, areas, skeleton))
    assert set(found) == {1, 60}
    assert all(set(meant) == {ankle, knee} for meant in found.values())


@pytest.mark.parametrize("check", [swapped_pairs, turned_persons, long_limbs])
@pytest.mark.parametrize("count", [0, 1, MIN_PERSONS - 1])
def test_too_few_persons_say_nothing(check, count: int) -> None:
    keypoints, areas = people(COCO, count=max(count, 1))
    assert not len(check(keypoints[:count], areas[:count], COCO).persons)


def test_persons_at_one_point_and_without_labels() -> None:
    keypoints = np.zeros((50, 17, 3))
    for flag in (0, 2):
        keypoints[..., 2] = flag
        for check in (swapped_pairs, turned_persons, long_limbs):
            assert not len(check(keypoints, np.ones(50), COCO).persons)


def test_the_conditional_distribution_is_that_of_the_formula() -> None:
    """Mean and covariance of a pair given the other labeled pairs, by blocks of the moments."""
    rng = np.random.default_rng(0)
    vectors, labeled = rng.normal(size=(9, 4, 2)), rng.random((9, 4)) < 0.7
    vectors *= labeled[..., None]
    factor = rng.normal(size=(8, 8))
    moments = factor @ factor.T + np.eye(8)
    means, precisions = conditional(vectors, labeled, moments)
    for n, j in np.ndindex(9, 4):
        if not labeled[n, j]:
            assert not precisions[n, j].any()
            continue
        own = [2 * j, 2 * j + 1]
        others = [i for i in range(8) if labeled[n, i // 2] and i not in own]
        given = moments[np.ix_(own, others)] @ np.linalg.inv(moments[np.ix_(others, others)])
        covariance = moments[np.ix_(own, own)] - given @ moments[np.ix_(others, own)]
        assert means[n, j] == pytest.approx(given @ vectors[n].ravel()[others])
        assert precisions[n, j] == pytest.approx(np.linalg.inv(covariance))


def test_moments_with_missing_pairs_are_positive_definite() -> None:
    rng = np.random.default_rng(1)
    labeled = rng.random((40, 6)) < 0.4
    vectors = rng.normal(size=(40, 6, 2)) * labeled[..., None]
    moments = second_moments(vectors, labeled)
    assert np.linalg.eigvalsh(moments).min() > 0
    everybody = np.ones((40, 6), dtype=bool)
    full = rng.normal(size=(40, 6, 2))
    flat = full.reshape(40, 12)
    assert second_moments(full, everybody) == pytest.approx(flat.T @ flat / 40)


@pytest.mark.parametrize("skeleton", SKELETONS[:3], ids=lambda skeleton: skeleton.name)
def test_missing_labels_make_nobody_suspected(skeleton: Skeleton) -> None:
    keypoints, areas = people(skeleton, count=200)
    keypoints[np.random.default_rng(2).random(keypoints.shape[:2]) < 0.35] = 0
    for check in (swapped_pairs, turned_persons, long_limbs):
        assert len(check(keypoints, areas, skeleton).persons) <= 1
