"""Test-time augmentation, on models that know the answer and as evaluation and predictor use it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from helpers import toy_model
from helpers.configs import override_list
from helpers.skeletons import DOG
from helpers.support import core_cfg
from torch import Tensor, nn
from torch.testing import assert_close

from posecore.config.merge import UsageError, merge_config
from posecore.data import load_dataset
from posecore.data.mapper import PoseMapper
from posecore.data.synthetic import make_dataset
from posecore.engine.evaluate import evaluate
from posecore.inference.predictor import Predictor
from posecore.modeling.estimator import rescale
from posecore.modeling.tta import PoseEstimatorWithTTA, flip_instances, merge_by_box, merge_by_oks, with_tta
from posecore.structures.boxes import enclosing_boxes
from posecore.structures.skeleton import Skeleton, load_skeleton

SKELETONS = [DOG, load_skeleton("coco_17"), load_skeleton("coco_wholebody_133")]


def found(points: Tensor, scores: list[float], size: tuple[int, int]) -> Instances:
    """points: (M, K, 2)."""
    confidence = torch.linspace(0.1, 0.9, points.shape[1]).expand(len(points), -1)
    return Instances(
        size,
        pred_boxes=Boxes(enclosing_boxes(points).reshape(-1, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.zeros(len(points), dtype=torch.int64),
        pred_keypoints=torch.cat([points, confidence[..., None]], dim=2),
    )


class Seer(nn.Module):
    """Sees how large an image is and whether it is flipped, and answers with the poses that it knows.

    An image is bright on the left; its poses are shares of its height and width, and (M, K, 2).
    """

    def __init__(self, poses: Tensor, scores: list[float], skeleton: Skeleton) -> None:
        super().__init__()
        self.poses, self.scores, self.skeleton = poses, scores, skeleton
        self.sizes: list[tuple[int, int]] = []
        self.eval()

    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        return [{"instances": self.look(inputs)} for inputs in batch]

    def look(self, inputs: dict[str, Any]) -> Instances:
        image = inputs["image"].float()
        size = tuple(image.shape[1:])
        self.sizes.append(size)
        poses = self.poses
        left, right = image[:, :, : size[1] // 2], image[:, :, size[1] // 2 :]
        if left.mean() < right.mean():
            x, y = poses[:, list(self.skeleton.flip_indices)].unbind(dim=2)
            poses = torch.stack([1 - x, y], dim=2)
        instances = found(poses * torch.tensor(size[::-1]), self.scores, size)
        return rescale(instances, (inputs["height"], inputs["width"]))


def seer(skeleton: Skeleton = DOG, people: int = 2) -> Seer:
    low = torch.linspace(0, 0.7, max(people, 1))[:people, None, None]
    poses = low + 0.3 * torch.rand(people, skeleton.num_keypoints, 2)
    return Seer(poses, torch.linspace(0.9, 0.5, people).tolist(), skeleton)


def sized_image(height: int, width: int) -> dict[str, Any]:
    image = torch.randint(0, 100, (3, height, width), dtype=torch.uint8)
    image[:, :, : width // 2] += 100
    return {"image": image, "image_id": width, "height": height, "width": width}


def augmented(model: nn.Module, *overrides: Any) -> PoseEstimatorWithTTA:
    cfg = core_cfg("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (40, 60, 81), *overrides)
    return PoseEstimatorWithTTA(cfg, model)


def equal(a: Instances, b: Instances) -> bool:
    return (
        a.image_size == b.image_size
        and a.get_fields().keys() == b.get_fields().keys()
        and torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
        and all(torch.equal(a.get(name), b.get(name)) for name in a.get_fields() if name != "pred_boxes")
    )


@pytest.mark.parametrize("voting", [False, True])
@pytest.mark.parametrize("merge", ["oks", "box"])
@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda skeleton: skeleton.name)
def test_all_variants_of_a_pose_become_the_one_in_the_original_image(
    skeleton: Skeleton, merge: str, voting: bool
) -> None:
    model = seer(skeleton)
    batch = [sized_image(50, 80), sized_image(61, 45)]
    results = augmented(model, "TEST.AUG.MERGE", merge, "TEST.AUG.VOTING", voting)(batch)
    assert model.sizes == [
        size
        for pair in [[(40, 64), (54, 40)], [(60, 96), (81, 60)], [(81, 130), (110, 81)]]
        for size in 2 * pair
    ]
    for result, inputs in zip(results, batch, strict=True):
        size = inputs["height"], inputs["width"]
        expected = found(model.poses * torch.tensor(size[::-1]), model.scores, size)
        instances = result["instances"]
        assert instances.image_size == size
        assert_close(instances.pred_keypoints, expected.pred_keypoints)
        assert_close(instances.pred_boxes.tensor, expected.pred_boxes.tensor)
        assert torch.equal(instances.scores, expected.scores)


class UnsureInSmallImages(Seer):
    """Misplaces the first keypoint, with the highest score, in images of less than 50 rows."""

    def look(self, inputs: dict[str, Any]) -> Instances:
        instances = super().look(inputs)
        if inputs["image"].shape[1] < 50:
            instances.pred_keypoints[:, 0, :2] = 1.0
        else:
            instances.scores -= 0.1
        return instances


def test_dropped_poses_vote_on_the_keypoints_of_those_that_remain() -> None:
    model = UnsureInSmallImages(torch.rand(1, 5, 2), [0.9], DOG)
    places = {}
    for voting in (False, True):
        options = ("TEST.AUG.FLIP", False, "TEST.AUG.MERGE", "box", "TEST.AUG.VOTING", voting)
        (result,) = augmented(model, *options)([sized_image(50, 80)])
        assert_close(result["instances"].scores, torch.tensor([0.9]))
        places[voting] = result["instances"].pred_keypoints[0, 0, :2]
    assert_close(places[False], torch.ones(2))
    assert_close(places[True], model.poses[0, 0] * torch.tensor([80.0, 50]))


def test_sizes_and_flip_are_those_of_the_configuration() -> None:
    model = seer()
    augmented(model, "TEST.AUG.MAX_SIZE", 90, "TEST.AUG.FLIP", False)([sized_image(50, 80)])
    assert model.sizes == [(40, 64), (56, 90), (56, 90)]


def test_several_images_are_what_they_are_one_by_one_and_stay_as_they_are() -> None:
    model = augmented(seer())
    batch = [sized_image(50, 80), sized_image(61, 45), sized_image(40, 40)]
    before = [inputs["image"].clone() for inputs in batch]
    keys = [set(inputs) for inputs in batch]
    together = model(batch)
    assert all(
        equal(result["instances"], model([inputs])[0]["instances"])
        for result, inputs in zip(together, batch, strict=True)
    )
    assert all(torch.equal(inputs["image"], image) for inputs, image in zip(batch, before, strict=True))
    assert [set(inputs) for inputs in batch] == keys


@pytest.mark.parametrize("voting", [False, True])
@pytest.mark.parametrize("merge", ["oks", "box"])
def test_nobody_is_found(merge: str, voting: bool) -> None:
    model = augmented(seer(people=0), "TEST.AUG.MERGE", merge, "TEST.AUG.VOTING", voting)
    (result,) = model([sized_image(50, 80)])
    assert result["instances"].pred_keypoints.shape == (0, 5, 3)
    assert result["instances"].pred_boxes.tensor.shape == (0, 4)


def test_the_best_remain_within_the_limit() -> None:
    model = augmented(seer(people=9), "TEST.DETECTIONS_PER_IMAGE", 4, "TEST.AUG.NMS_THRESH", 0.99)
    (result,) = model([sized_image(50, 80)])
    assert_close(result["instances"].scores, torch.tensor([0.9, 0.85, 0.8, 0.75]))


def test_without_height_and_width_poses_are_in_the_image_given() -> None:
    one = sized_image(50, 80)
    model = augmented(seer())
    (expected,) = model([one])
    (result,) = model([{"image": one["image"]}])
    assert equal(result["instances"], expected["instances"])


def test_a_flipped_image_gives_flipped_poses_whatever_the_model() -> None:
    model = toy_model.ToyPose(skeleton=load_skeleton("coco_17")).eval()
    # Of one size, so that no resize rounds; nothing is similar enough to be dropped.
    tta = augmented(model, "TEST.AUG.MIN_SIZES", (40,), "TEST.AUG.NMS_THRESH", 1.0)
    one = {**sized_image(40, 70), "image": torch.randint(0, 256, (3, 40, 70)).float()}
    (straight,) = tta([one])
    (flipped,) = tta([{**one, "image": one["image"].flip(2)}])
    back = flip_instances(flipped["instances"], model.skeleton)[[1, 0]]
    assert len(back) == 2
    assert_close(back.pred_keypoints, straight["instances"].pred_keypoints)
    assert_close(back.pred_boxes.tensor, straight["instances"].pred_boxes.tensor)
    assert not torch.allclose(back.pred_keypoints[0], back.pred_keypoints[1])


def test_what_is_no_person_drops_nobody() -> None:
    model = seer(people=2)
    model.poses, model.scores = model.poses[:1].expand(2, -1, -1), [0.9, 0.8]
    look = model.look

    def first_is_none(inputs: dict[str, Any]) -> Instances:
        instances = look(inputs)
        instances.pred_classes = torch.tensor([1, 0])
        return instances

    model.look = first_is_none
    (result,) = augmented(model)([sized_image(50, 80)])
    assert_close(result["instances"].scores, torch.tensor([0.8]))


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda skeleton: skeleton.name)
def test_flipping_swaps_sides_and_twice_is_nothing(skeleton: Skeleton) -> None:
    # Quarters, so that nothing is rounded.
    points = torch.randint(0, 300, (3, skeleton.num_keypoints, 2)) / 4
    instances = found(points, [0.9, 0.8, 0.7], (60, 80))
    before = instances.pred_keypoints.clone()
    flipped = flip_instances(instances, skeleton)
    left, right = (skeleton.keypoints.index(name) for name in skeleton.flip_pairs[0])
    assert torch.equal(flipped.pred_keypoints[:, left, 0], 80 - points[:, right, 0])
    assert torch.equal(flipped.pred_keypoints[:, left, 1:], instances.pred_keypoints[:, right, 1:])
    assert torch.equal(flipped.pred_boxes.tensor, enclosing_boxes(flipped.pred_keypoints[..., :2]))
    assert equal(flip_instances(flipped, skeleton), instances)
    assert torch.equal(instances.pred_keypoints, before)


def test_merging_by_poses_tells_embracing_people_apart_and_by_boxes_does_not() -> None:
    points = torch.rand(1, 5, 2) * 100
    points[0, :2] = torch.tensor([[0.0, 0.0], [100.0, 100.0]])
    other = points.clone()
    other[0, 2:] = 100 - other[0, 2:]
    instances = found(torch.cat([points, other, points + 0.5]), [0.7, 0.8, 0.9], (200, 200))
    assert merge_by_oks(instances, skeleton=DOG, threshold=0.7).tolist() == [2, 1]
    assert merge_by_box(instances, threshold=0.7).tolist() == [2]


def test_poses_on_a_line_are_kept() -> None:
    points = torch.tensor([[[10.0, 5.0 * k] for k in range(5)], [[90.0, 5.0 * k] for k in range(5)]])
    instances = found(points, [0.9, 0.8], (100, 100))
    assert merge_by_oks(instances, skeleton=DOG, threshold=0.7).tolist() == [0, 1]


def test_of_one_variant_nothing_is_merged() -> None:
    same = torch.rand(1, 5, 2).expand(3, -1, -1)
    model = Seer(same, [0.3, 0.9, 0.6], DOG)
    tta = augmented(model, "TEST.AUG.MIN_SIZES", (50,), "TEST.AUG.FLIP", False)
    one = sized_image(50, 80)
    assert equal(tta([one])[0]["instances"], model([one])[0]["instances"])


def test_the_mode_is_the_models() -> None:
    model = seer()
    assert not augmented(model).training
    assert augmented(model.train()).training


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("TEST.AUG.MERGE", "mean"), "TEST.AUG.MERGE must be one of 'oks', 'box', not 'mean'"),
        (("TEST.AUG.NMS_THRESH", 0.0), "TEST.AUG.NMS_THRESH must be above 0 and at most 1, not 0.0"),
        (("TEST.AUG.MIN_SIZES", ()), "TEST.AUG.MIN_SIZES is empty"),
    ],
)
def test_values_that_cannot_be_used(overrides: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        augmented(seer(), *overrides)


def test_keys_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match=r"TEST\.AUG\.MERGES; near it: TEST\.AUG\.MERGE"):
        merge_config(core_cfg(), "", ["TEST.AUG.MERGES", "oks"])


def test_models_of_cut_out_persons_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"TEST\.AUG\.ENABLED must be False for models that take person crops"
    ):
        augmented(seer())([{"crops": torch.zeros(2, 3, 64, 48)}])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A definition of four small images, of another size than they are tested at."""
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=4, size=(48, 64), name="augmented")


def toy_cfg(dataset: Path, output: Path, *overrides: Any) -> Any:
    return core_cfg(
        *override_list(
            {
                "MODEL.META_ARCHITECTURE": "ToyPose",
                "MODEL.WEIGHTS": "",
                "OUTPUT_DIR": str(output),
                "DATASETS.DEFINITIONS": (str(dataset),),
                "DATASETS.TEST": ("augmented_train",),
                "DATALOADER.NUM_WORKERS": 0,
                "INPUT.MIN_SIZE_TEST": 80,
                "INPUT.MAX_SIZE_TEST": 100,
                "TEST.AUG.MIN_SIZES": (80,),
                "TEST.AUG.MAX_SIZE": 100,
            }
        ),
        *overrides,
    )


@pytest.mark.parametrize("rounding", ["nearest", "down"])
def test_the_identity_alone_changes_nothing_in_an_evaluation(
    dataset: Path, tmp_path: Path, rounding: str
) -> None:
    size = ("INPUT.MIN_SIZE_TEST", 41, "TEST.AUG.MIN_SIZES", (41,), "INPUT.RESIZE_ROUNDING", rounding)
    model = toy_model.ToyPose(skeleton=load_skeleton("coco_17")).eval()

    def poses(output: Path, *overrides: Any) -> list[dict]:
        evaluate(toy_cfg(dataset, output, *size, *overrides), model)
        return json.loads((output / "inference/augmented_train/coco_instances_results.json").read_text())

    plain = poses(tmp_path / "plain")
    assert poses(tmp_path / "same", "TEST.AUG.ENABLED", True, "TEST.AUG.FLIP", False) == plain
    assert poses(tmp_path / "flip", "TEST.AUG.ENABLED", True) != plain
    assert not model.training


def test_images_reach_the_model_as_the_mapper_resizes_them(dataset: Path, tmp_path: Path) -> None:
    cfg = toy_cfg(dataset, tmp_path, "TEST.AUG.ENABLED", True, "TEST.AUG.FLIP", False)
    seen: list[Tensor] = []

    class Eye(Seer):
        def look(self, inputs: dict[str, Any]) -> Instances:
            seen.append(inputs["image"])
            return super().look(inputs)

    evaluate(cfg, Eye(torch.rand(1, 17, 2), [0.5], load_skeleton("coco_17")))
    mapper = PoseMapper(cfg, is_train=False)
    expected = [
        mapper(record)["image"] for record in load_dataset("augmented_train", load_skeleton("coco_17"))
    ]
    assert expected[0].shape == (3, 75, 100)
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_the_predictor_augments_too(dataset: Path, tmp_path: Path) -> None:
    cfg = toy_cfg(dataset, tmp_path, "TEST.AUG.ENABLED", True, "TEST.AUG.NMS_THRESH", 1.0)
    predictor = Predictor.from_config(cfg)
    assert predictor.model.skeleton == load_skeleton("coco_17")
    image = np.random.randint(0, 256, (30, 50, 3), dtype=np.uint8)
    straight, flipped = predictor.batch([image, image[:, ::-1]])
    assert len(straight) == 2
    back = flip_instances(flipped, predictor.model.skeleton)[[1, 0]]
    assert_close(back.pred_keypoints, straight.pred_keypoints, atol=1e-2, rtol=0)


def test_without_the_key_nothing_is_wrapped() -> None:
    cfg, model = core_cfg(), seer()
    assert with_tta(cfg, model) == (cfg, model)
