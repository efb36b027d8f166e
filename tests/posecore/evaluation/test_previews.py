"""The image of predictions beside ground truth: who is in it, and that it is drawn whatever was found."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from PIL import Image

from posecore.data import load_dataset, register_definitions
from posecore.data.synthetic import make_dataset
from posecore.evaluation import previews
from posecore.evaluation.previews import Previews
from posecore.structures.skeleton import load_skeleton

SKELETON = load_skeleton("coco_17")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Three images, nobody in the last."""
    definition = make_dataset(tmp_path_factory.mktemp("data"), num_images=3, size=(48, 64), name="previews")
    (name,) = register_definitions([definition])
    records = load_dataset(name, SKELETON)
    return [*records[:2], {**records[2], "annotations": []}]


def found(scores):
    instances = Instances((48, 64))
    instances.pred_keypoints = torch.rand(len(scores), 17, 3) * torch.tensor([64.0, 48.0, 1.0])
    instances.pred_boxes = Boxes(torch.tensor([[5.0, 5.0, 60.0, 40.0]] * len(scores)).reshape(-1, 4))
    instances.scores = torch.tensor(scores)
    return {"instances": instances}


def draw(records, outputs, out_png):
    previewer = Previews(records, SKELETON, out_png)
    previewer.reset()
    inputs = [{"image_id": record["image_id"]} for record in records]
    previewer.process(inputs, outputs)
    assert previewer.evaluate() is None
    return np.asarray(Image.open(out_png))


def test_every_image_is_there_with_its_ground_truth(records, tmp_path):
    image = draw(records, [found([0.9, 0.1]), found([]), found([0.5])], tmp_path / "new" / "a.png")
    cell = previews.SIDE * 48 // 64
    assert image.shape[0] > 2 * cell, "six drawings, four in a row"
    assert image.shape[1] > 4 * previews.SIDE


def test_without_annotations_only_predictions_are_drawn(records, tmp_path):
    bare = [{key: record[key] for key in record if key != "annotations"} for record in records]
    outputs = [found([0.9])] * 3
    assert draw(bare, outputs, tmp_path / "a.png").shape[1] < 4 * previews.SIDE


def test_unlikely_poses_are_not_drawn(records, tmp_path):
    torch.manual_seed(0)
    some = draw(records, [found([0.9])] * 3, tmp_path / "a.png")
    nobody = draw(records, [found([0.1])] * 3, tmp_path / "b.png")
    nothing = draw(records, [found([])] * 3, tmp_path / "c.png")
    assert np.array_equal(nobody, nothing)
    assert not np.array_equal(some, nobody)


def test_other_images_are_left_out_and_none_is_no_file(records, tmp_path):
    previewer = Previews(records[:1], SKELETON, tmp_path / "a.png")
    previewer.process([{"image_id": records[1]["image_id"]}], [found([0.9])])
    previewer.evaluate()
    assert not (tmp_path / "a.png").exists()


def test_an_absurd_coordinate_is_no_error(records, tmp_path):
    person = {**records[0]["annotations"][0], "keypoints": [1e300, 5.0, 2] * 17, "num_keypoints": 17}
    draw([{**records[0], "annotations": [person]}], [found([0.9])], tmp_path / "a.png")


def test_what_cannot_be_drawn_is_logged(records, tmp_path, caplog):
    previewer = Previews([{**records[0], "file_name": "gone.jpg"}], SKELETON, tmp_path / "a.png")
    previewer.process([{"image_id": records[0]["image_id"]}], [found([0.9])])
    assert previewer.evaluate() is None
    assert "a.png are not drawn: image gone.jpg does not exist" in caplog.text
