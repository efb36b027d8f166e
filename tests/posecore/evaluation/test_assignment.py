"""Which detection belongs to which labeled person."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posecore.evaluation.assignment import assign_results, assigned_poses


def assign_poses(people, results, num_keypoints):
    return assigned_poses(assign_results(people, results), num_keypoints)


def test_a_pose_is_one_persons():
    """Both persons overlap the first pose more, but the sum is greatest crosswise."""
    people = [{"image_id": 1, "bbox": [0, 0, 10, 10]}, {"image_id": 1, "bbox": [0, 0, 10, 8]}]
    results = [
        {"image_id": 1, "bbox": [0, 0, 10, 8.5], "keypoints": [1, 1, 1]},
        {"image_id": 1, "bbox": [0, 0, 10, 13], "keypoints": [2, 2, 1]},
        {"image_id": 2, "bbox": [0, 0, 10, 10], "keypoints": [3, 3, 1]},
    ]
    assert assign_poses(people, results, 1).tolist() == [[[2, 2]], [[1, 1]]]
    assert assign_results(people, results) == [results[1], results[0]]
    assert np.isinf(assign_poses(people, results[2:], 1)).all()
    assert assign_results(people, []) == [None, None]
    assert assign_poses([], results, 1).shape == (0, 1, 2)


def overlap(one, other):
    """IoU of two boxes (x, y, width, height), in plain Python."""
    sides = [
        max(0, min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i])) for i in (0, 1)
    ]
    common = sides[0] * sides[1]
    return common / (one[2] * one[3] + other[2] * other[3] - common)


BOX = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2)


@given(BOX, st.lists(BOX, max_size=6))
def test_a_person_alone_gets_the_detection_that_overlaps_it_most(box, boxes):
    results = [
        {"image_id": 7, "bbox": found, "keypoints": [index, 0, 1]} for index, found in enumerate(boxes)
    ]
    (assigned,) = assign_results([{"image_id": 7, "bbox": box}], results)
    overlaps = [overlap(box, found) for found in boxes]
    if max(overlaps, default=0) == 0:
        assert assigned is None
    else:
        assert overlaps[assigned["keypoints"][0]] == max(overlaps)
