from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data.detection_utils import read_image
from detectron2.structures import Boxes, Instances
from helpers.support import core_cfg
from torch import nn
from torch.testing import assert_close

from posecore.data.mapper import PoseMapper
from posecore.data.person_boxes import PersonBoxes
from posecore.data.samples import ImageSamples, build_samples
from posecore.inference.predictor import Predictor


class Echo(nn.Module):
    """Finds one pose with a keypoint in the middle, and keeps what it was given."""

    def forward(self, batch: list[dict]) -> list[dict]:
        assert not self.training
        self.batch = batch
        results = []
        for inputs in batch:
            size = inputs["height"], inputs["width"]
            middle = torch.tensor([[[size[1] / 2, size[0] / 2, 1.0]]])
            boxes = Boxes(torch.tensor([[0.0, 0.0, size[1], size[0]]]))
            fields = {"pred_boxes": boxes, "scores": torch.ones(1), "pred_keypoints": middle}
            fields["pred_classes"] = torch.zeros(1, dtype=torch.int64)
            results.append({"instances": Instances(size, **fields)})
        return results


def test_images_are_resized_and_reordered_and_poses_come_back_in_them() -> None:
    model = Echo()
    cfg = core_cfg("INPUT.MIN_SIZE_TEST", 40, "INPUT.MAX_SIZE_TEST", 100, "INPUT.FORMAT", "BGR")
    predictor = Predictor(model, build_samples(cfg))
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[:, :, 0] = 250  # red
    before = image.copy()
    poses = predictor(image)
    assert model.batch[0]["image"].shape == (3, 40, 60)
    assert model.batch[0]["image"][:, 0, 0].tolist() == [0, 0, 250]
    assert_close(poses.pred_keypoints[0, 0, :2], torch.tensor([15.0, 10.0]))
    assert np.array_equal(image, before)
    assert [len(one) for one in predictor.batch([image, image[:7]])] == [1, 1]


def test_the_model_sees_what_it_sees_in_evaluation(shared: Path) -> None:
    cfg = core_cfg("INPUT.MIN_SIZE_TEST", 200, "INPUT.MAX_SIZE_TEST", 333)
    file = shared / "data" / "coco" / "000000000785.jpg"
    image = read_image(str(file), "RGB")
    record = {"file_name": str(file), "image_id": 785, "height": image.shape[0], "width": image.shape[1]}
    expected = PoseMapper(cfg, is_train=False)(record)["image"]
    model = Echo()
    Predictor(model, build_samples(cfg))(image)
    assert torch.equal(model.batch[0]["image"], expected)


class PersonByPerson(ImageSamples):
    """Samples with the boxes that they were made with."""

    needs_boxes = True

    def sample(self, image: np.ndarray, boxes: PersonBoxes | None = None) -> dict:
        return super().sample(image) | {"boxes": boxes}


def test_boxes_come_from_the_caller_or_from_a_detector() -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    samples, model = PersonByPerson.from_config(core_cfg()), Echo()
    given = PersonBoxes(np.array([[1.0, 2, 3, 4]]), np.ones(1))
    Predictor(model, samples)(image, given)
    assert model.batch[0]["boxes"] is given
    detector = Predictor(Echo(), build_samples(core_cfg()))
    Predictor(model, samples, detector).batch([image, image[:7]])
    assert [sample["boxes"].boxes.tolist() for sample in model.batch] == [[[0, 0, 30, 20]], [[0, 0, 30, 7]]]
    assert model.batch[0]["boxes"].scores.tolist() == [1]
    with pytest.raises(ValueError, match="give their boxes, or a detector"):
        Predictor(model, samples)(image)
