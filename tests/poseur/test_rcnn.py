"""Mask R-CNN with Poseur's head: any batch, any skeleton, poses beyond their boxes."""

from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from helpers.image_samples import sample
from helpers.model_contract import (
    detections,
    inputs_stay,
    poses_are_in_the_original_image,
    skeleton_of,
    steps_are_sound,
)
from helpers.poseur_rcnn import tiny
from helpers.processes import in_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from posecore.modeling.tta import PoseEstimatorWithTTA, merge_by_box
from poseur.memory import ChannelMapper, PositionedLevels
from poseur.regions import Regions

LOSSES = {"loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc", "loss_coarse"}
VARIANTS = {
    "poseur": ((), {"loss_decoder0", "loss_decoder1"}),
    "RLE": (("MODEL.POSEUR.NUM_LAYERS", 0), set()),
    "as in the official code": (
        ("MODEL.POSEUR.ENCODER", "projection", "MODEL.POSEUR.LOSS", "rle_official"),
        {"loss_decoder0", "loss_decoder1"},
    ),
    "L1": (
        ("MODEL.POSEUR.LOSS", "l1", "MODEL.POSEUR.SCORE", "none"),
        {"loss_decoder0", "loss_decoder1"},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_whatever_the_batch_holds(variant: str) -> None:
    overrides, decoder = VARIANTS[variant]
    with EventStorage():
        assert steps_are_sound(tiny(*overrides)) == LOSSES | decoder


def test_images_without_persons_have_no_keypoint_loss() -> None:
    with EventStorage():
        losses = tiny().train()([sample(0, 0)])
    assert all(losses[name] == 0 for name in ("loss_coarse", "loss_decoder0", "loss_decoder1"))


@pytest.mark.parametrize("variant", ["poseur", "RLE"])
def test_poses_come_back_in_the_original_image(variant: str) -> None:
    small, _ = poses_are_in_the_original_image(tiny(*VARIANTS[variant][0]).eval())
    assert small.pred_keypoints.shape[1:] == (17, 3)
    assert ((small.pred_keypoints[..., 2] > 0) & (small.pred_keypoints[..., 2] <= 1)).all()


def test_a_batch_gives_what_its_images_give_one_by_one() -> None:
    model = tiny().eval()
    batch = [sample(index, 1) for index in range(3)]
    for together, inputs in zip(detections(model, batch), batch, strict=True):
        alone = detections(model, [inputs])[0]
        assert_close(together.pred_keypoints, alone.pred_keypoints, atol=1e-3, rtol=1e-4)
        assert_close(together.scores, alone.scores)


def test_inputs_stay_as_they_are() -> None:
    with EventStorage():
        inputs_stay(tiny())


@pytest.mark.parametrize("num_keypoints", [5, 133])
def test_other_skeletons_train_and_predict(num_keypoints: int, tmp_path: Path) -> None:
    skeleton = skeleton_of(num_keypoints, tmp_path)
    model = tiny("DATASETS.SKELETON", skeleton, "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", num_keypoints)
    with EventStorage():
        losses = model.train()([sample(0, 2, num_keypoints=num_keypoints)])
    sum(losses.values()).backward()
    result = detections(model.eval(), [sample(0, 1)])[0]
    assert result.pred_keypoints.shape[1:] == (num_keypoints, 3)


def test_a_number_of_keypoints_that_differs_from_the_skeleton_is_refused() -> None:
    with pytest.raises(ValueError, match=r"NUM_KEYPOINTS is 16, but the skeleton 'coco_17' .* has 17"):
        tiny("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS", 16)


def test_half_precision_trains() -> None:
    model = tiny().train()
    with EventStorage(), torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model([sample(0, 2), sample(1, 0)])
    assert all(losses[name].dtype == torch.float32 for name in ("loss_coarse", "loss_decoder1"))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()


@pytest.mark.parametrize(("queries", "persons"), [(600, 3), (2 * 17 + 16, 2), (1, 1)])
def test_queries_of_an_image_are_those_of_whole_persons(queries: int, persons: int) -> None:
    model = tiny("MODEL.POSEUR.QUERIES_PER_IMAGE", queries, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 1).train()
    seen = []
    model.roi_heads.keypoint_head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    with EventStorage():
        model([sample(0, 3), sample(1, 0)])  # the ground truth itself is among the proposals
    assert seen[0].counts[1] == 0
    assert persons <= seen[0].counts[0] <= max(queries // 17, 1)


def test_shares_of_boxes_and_pixels_are_inverse() -> None:
    regions = Regions(torch.tensor([[10.0, 20.0, 30.0, 60.0], [5.0, 5.0, 5.0, 9.0]]), [2], (64, 96))
    points = torch.tensor([[[10.0, 20.0], [30.0, 60.0], [20.0, 100.0]]] * 2)
    shares = regions.shares(points)
    assert_close(shares[0], torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 2.0]]))
    assert_close(regions.pixels(shares), points)
    assert regions.image().tolist() == [96, 64]


def test_keypoints_can_lie_beside_their_box() -> None:
    model = tiny().eval()
    layer = model.roi_heads.keypoint_head.decoder.decoder.layers[-1].head
    with torch.no_grad():
        for part in (layer.references, layer.offsets):
            nn.init.zeros_(part[-1].weight)
        layer.offsets[-1].bias.copy_(torch.tensor([1.0, 0.0]))  # an image's width to the right
    result = detections(model, [sample(0, 1)])[0]
    assert (result.pred_keypoints[..., 0] > 128).any()
    assert (result.pred_boxes.tensor <= 128).all()


def test_queries_look_at_their_own_image() -> None:
    neck, positions = ChannelMapper([8], 32), PositionedLevels(32, 1)
    model = tiny().roi_heads.keypoint_head.decoder
    model.neck, model.positions = neck, positions
    for layer in model.decoder.layers:
        attention = layer.cross_attention.attention
        attention.levels = 1
        attention.sampling_offsets = nn.Linear(32, attention.sampling_offsets.out_features // 4)
        attention.attention_weights = nn.Linear(32, attention.attention_weights.out_features // 4)
    maps, proposals = torch.randn(2, 8, 6, 8), torch.rand(3, 17, 2)
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [4.0, 4.0, 30.0, 20.0], [1.0, 2.0, 20.0, 22.0]])
    together = model([maps], proposals, Regions(boxes, [1, 2], (24, 32)))[-1].points
    first = model([maps[:1]], proposals[:1], Regions(boxes[:1], [1], (24, 32)))[-1].points
    second = model([maps[1:]], proposals[1:], Regions(boxes[1:], [2], (24, 32)))[-1].points
    assert_close(together, torch.cat([first, second]), atol=1e-5, rtol=1e-4)


def one_step() -> dict[str, float]:
    torch.manual_seed(0)
    model = tiny().train()
    wrapped = DistributedDataParallel(model)
    with EventStorage():
        losses = wrapped([sample(0, 2 * comm.get_rank())])
    sum(losses.values()).backward()
    return {name: loss.item() for name, loss in losses.items()} | {
        "gradient": model.roi_heads.keypoint_head.head.head.points.weight.grad.norm().item()
    }


def test_two_processes_of_which_one_has_no_persons() -> None:
    empty, full = in_processes(one_step, 2)
    assert empty.keys() == full.keys()
    assert empty["loss_decoder0"] == 0
    assert full["loss_decoder0"] != 0
    assert empty["gradient"] == full["gradient"] > 0


def test_detectron2s_heatmap_head_is_a_choice() -> None:
    model = tiny("MODEL.ROI_HEADS.NAME", "StandardROIHeads").train()
    with EventStorage():
        losses = model([sample(0, 2)])
    assert losses["loss_keypoint"].isfinite()
    assert detections(model.eval(), [sample(0, 1)])[0].pred_keypoints.shape[1:] == (17, 3)


def test_several_sizes_and_flipped_images_are_merged() -> None:
    model = tiny().eval()
    merge = partial(merge_by_box, threshold=0.5)
    resizes = [ResizeShortestEdge(size, 200, "choice") for size in (64, 96)]
    augmented = PoseEstimatorWithTTA(model, resizes=resizes, flip=True, merge=merge, limit=10)
    result = detections(augmented, [sample(0, 1)])[0]
    assert result.image_size == (96, 128)
    assert 1 <= len(result) <= 10
