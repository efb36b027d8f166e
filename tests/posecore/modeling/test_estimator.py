import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn
from torch.testing import assert_close

from posecore.modeling.estimator import CommonParts, PoseEstimator, make_detections, rescale
from posecore.structures.skeleton import load_skeleton


class Backbone(nn.Module):
    size_divisibility = 32


class Recorder(PoseEstimator):
    """Keeps what it is given; finds one pose in each image."""

    def losses(self, images: ImageList, targets: list[Instances]) -> dict[str, torch.Tensor]:
        self.images, self.targets = images, targets
        return {"loss": images.tensor.sum()}

    def predict(self, images: ImageList) -> list[Instances]:
        self.images = images
        return [pose(size) for size in images.image_sizes]


def recorder(shift: float = 0.0) -> Recorder:
    mean, std = (10.0, 20.0, 30.0), (1.0, 2.0, 4.0)
    skeleton = load_skeleton("coco_17")
    return Recorder(CommonParts(Backbone(), skeleton, mean, std, shift))


def pose(size: tuple[int, int]) -> Instances:
    """A pose on a vertical line that leaves the image on the right."""
    return make_detections(
        size,
        boxes=Boxes(torch.tensor([[12.0, 4.0, 12.0, 8.0]])),
        scores=torch.tensor([0.9]),
        keypoints=torch.tensor([[[12.0, 4.0, 0.5], [12.0, 8.0, 0.25]]]),
    )


def test_detections_are_persons_of_an_image() -> None:
    boxes, scores, keypoints = Boxes(torch.rand(3, 4)), torch.rand(3), torch.rand(3, 17, 3)
    found = make_detections((20, 30), boxes, scores, keypoints)
    assert found.image_size == (20, 30)
    assert torch.equal(found.pred_boxes.tensor, boxes.tensor)
    assert torch.equal(found.scores, scores)
    assert torch.equal(found.pred_keypoints, keypoints)
    assert found.pred_classes.tolist() == [0, 0, 0]
    assert found.pred_classes.dtype == torch.int64
    assert len(make_detections((20, 30), boxes[[]], scores[:0], keypoints[:0])) == 0


def test_losses_are_computed_in_evaluation_mode_too() -> None:
    model = recorder().eval()
    batch = [{"image": torch.full((3, 32, 32), 50.0), "instances": Instances((32, 32))}]
    losses = model.compute_losses(batch)
    assert losses["loss"] == 32 * 32 * (40 + 15 + 5)
    assert len(model.targets) == 1
    assert not model.training
    assert losses == model.train()(batch)


def test_normalizes_then_pads_with_zeros() -> None:
    model = recorder().eval()
    images = [torch.full((3, 20, 33), 50, dtype=torch.uint8), torch.full((3, 31, 8), 10, dtype=torch.uint8)]
    model([{"image": image} for image in images])
    assert model.images.tensor.shape == (2, 3, 32, 64)
    assert model.images.tensor[0, :, 19, 32].tolist() == [40, 15, 5]
    assert model.images.tensor[0, :, 20:].abs().sum() == 0
    assert model.images.tensor[1, :, 30, 7].tolist() == [0, -5, -5]
    assert model.images.tensor[1, :, :, 8:].abs().sum() == 0


def test_results_take_the_size_of_the_original_where_it_is_given() -> None:
    model = recorder().eval()
    image = torch.zeros(3, 16, 32)
    one, other = model([{"image": image}, {"image": image, "height": 8, "width": 64}])
    assert one["instances"].image_size == (16, 32)
    assert_close(one["instances"].pred_keypoints, pose((16, 32)).pred_keypoints)
    assert other["instances"].image_size == (8, 64)
    expected = torch.tensor([[[24.0, 2.0, 0.5], [24.0, 4.0, 0.25]]])
    assert_close(other["instances"].pred_keypoints, expected)


def test_keypoints_are_shifted_in_the_original_image() -> None:
    image = torch.zeros(3, 16, 32)
    [result] = recorder(0.5).eval()([{"image": image, "height": 8, "width": 64}])
    expected = torch.tensor([[[24.5, 2.5, 0.5], [24.5, 4.5, 0.25]]])
    assert_close(result["instances"].pred_keypoints, expected)
    assert_close(result["instances"].pred_boxes.tensor, torch.tensor([[24.0, 2.0, 24.0, 4.0]]))


def test_rescale_keeps_poses_without_area_and_its_input() -> None:
    found = pose((16, 10))
    scaled = rescale(found, (32, 20))
    assert_close(scaled.pred_boxes.tensor, torch.tensor([[20.0, 8.0, 20.0, 16.0]]))  # clipped at the side
    assert_close(scaled.pred_keypoints[0, 0], torch.tensor([24.0, 8.0, 0.5]))  # not clipped
    assert_close(found.pred_boxes.tensor, torch.tensor([[12.0, 4.0, 12.0, 8.0]]))
    assert_close(found.pred_keypoints, pose((16, 10)).pred_keypoints)


def test_rescale_of_nothing() -> None:
    scaled = rescale(pose((16, 10))[:0], (32, 20))
    assert len(scaled) == 0
    assert scaled.pred_keypoints.shape == (0, 2, 3)


def test_training_hands_over_the_persons() -> None:
    model = recorder().train()
    nobody = Instances(
        (16, 16), gt_boxes=Boxes(torch.zeros(0, 4)), gt_classes=torch.zeros(0, dtype=torch.int64)
    )
    losses = model([{"image": torch.zeros(3, 16, 16), "instances": nobody}])
    assert list(losses) == ["loss"]
    assert len(model.targets) == 1
    assert len(model.targets[0]) == 0


def test_pixel_statistics_are_no_part_of_the_weights() -> None:
    assert recorder().state_dict() == {}
