"""The reader of CrowdPose's files."""

import pytest
from helpers.files import write_changed

from posecore.data import load_dataset, register
from posecore.data.formats.crowdpose import read_crowdpose
from posecore.evaluation.dataset_check import check_dataset
from posecore.structures.skeleton import load_skeleton

CROWDPOSE = load_skeleton("crowdpose_14")


def content():
    """One image of one person, as CrowdPose has it: "head", no area, hidden keypoints not counted."""
    person = {"id": 5, "image_id": 9, "category_id": 1, "bbox": [10, 10, 40, 50], "iscrowd": 0}
    points = [[10 + 3 * k, 10 + 3 * k, (0, 1, 2)[k % 3]] for k in range(14)]
    person["keypoints"] = [number for x, y, v in points for number in ((x, y, v) if v else (0, 0, 0))]
    person["num_keypoints"] = sum(v == 2 for *_, v in points)
    return {
        "images": [{"id": 9, "file_name": "9.jpg", "height": 80, "width": 90, "crowdIndex": 0.3}],
        "categories": [{"id": 1, "name": "person", "keypoints": [*CROWDPOSE.keypoints[:12], "head", "neck"]}],
        "annotations": [person],
    }


@pytest.fixture
def write(tmp_path):
    def writer(change=lambda content: None):
        return write_changed(tmp_path / "crowds.json", content(), change)

    return writer


def test_what_the_files_leave_out(write, caplog):
    read = read_crowdpose(write(), CROWDPOSE)
    (person,) = read["annotations"]
    assert person["area"] == pytest.approx(0.53 * 40 * 50)
    assert person["num_keypoints"] == 9
    assert read["images"][0]["crowdIndex"] == 0.3
    assert not caplog.records, "what all its files lack is no news"


def test_the_head_by_either_name(write):
    def rename(content):
        content["categories"][0]["keypoints"][12] = "top_head"

    for path in (write(), write(rename)):
        assert read_crowdpose(path, CROWDPOSE)["categories"][0]["keypoints"] == list(CROWDPOSE.keypoints)

    def confuse(content):
        content["categories"][0]["keypoints"][12] = "nose"

    with pytest.raises(ValueError, match=r"crowds\.json.*keypoint 12 is 'nose' against 'top_head'"):
        read_crowdpose(write(confuse), CROWDPOSE)


@pytest.mark.parametrize("index", [None, "0.3", -0.1, 1.5, float("nan")])
def test_crowd_indices_that_are_none(write, index):
    path = write(lambda content: content["images"][0].update(crowdIndex=index))
    with pytest.raises(ValueError, match=r"crowds\.json: image 9: crowdIndex must be a number in \[0, 1\]"):
        read_crowdpose(path, CROWDPOSE)


def test_as_a_dataset(write, tmp_path):
    register("crowds", write(), tmp_path, CROWDPOSE, format="crowdpose")
    (record,) = load_dataset("crowds", CROWDPOSE)
    assert record["annotations"][0]["keypoints"][3:6] == [13.5, 13.5, 1]
    report = check_dataset("crowds", num_images=0)
    assert report.errors == [f"1 of 1 images do not exist: {tmp_path / '9.jpg'}"]
    assert "AP of the ground truth as its own prediction: 100.0 %" in report.facts
