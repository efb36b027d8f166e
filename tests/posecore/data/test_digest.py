"""The digest of training samples changes with what a model would learn."""

import copy

from posecore.data.digest import records_digest

RECORDS = [
    {"file_name": "a/1.jpg", "height": 2, "width": 3, "annotations": [{"keypoints": [1.0, 2.0, 2]}]},
    {"file_name": "a/2.jpg", "height": 2, "width": 3, "annotations": []},
]


def test_folders_do_not_count_and_the_rest_does():
    digest = records_digest(RECORDS)
    assert digest.startswith("2 samples, checksum ")
    moved = copy.deepcopy(RECORDS)
    moved[0]["file_name"] = "b/1.jpg"
    assert records_digest(moved) == digest
    for place, key, value in ((0, "file_name", "a/3.jpg"), (1, "height", 3), (1, "annotations", [{}])):
        other = copy.deepcopy(RECORDS)
        other[place][key] = value
        assert (records_digest(other) != digest) == (value != [{}])
    other = copy.deepcopy(RECORDS)
    other[0]["annotations"][0]["keypoints"][0] = 1.5
    assert records_digest(other) != digest
    assert records_digest(RECORDS[::-1]) != digest


def test_records_of_persons_and_of_others():
    assert records_digest([{"annotation": {"keypoints": [1, 2, 2]}}]) != records_digest([{}])
