"""The selection and suppression of candidates of FCOS."""

import torch
from torch.testing import assert_close

from posecore.modeling.fcos.decode import clip_boxes, select_candidates, soft_suppress, suppress
from posecore.modeling.fcos.locations import make_locations

# Six locations on one level, two on the next.
LOCATIONS = make_locations([(2, 3), (1, 2)], [8, 16])


def test_threshold_is_on_the_probability_and_ranking_on_the_score() -> None:
    probability = torch.tensor([[0.9, 0.5, 0.6, 0.0, 0.05, 0.4, 0.7, 0.01]])
    scores = torch.tensor([[0.1, 0.5, 0.3, 0.9, 0.8, 0.2, 0.05, 0.9]])
    chosen = select_candidates(
        probability, scores, LOCATIONS, score_thresh=0.05, topk_per_level=3, topk_per_image=0
    )
    assert chosen.locations.index.tolist() == [1, 2, 5, 6]
    assert_close(chosen.scores, torch.tensor([0.5, 0.3, 0.2, 0.05]))
    assert chosen.counts == [4]


def test_candidates_of_a_batch_are_those_of_its_images() -> None:
    torch.manual_seed(0)
    probability, scores = torch.rand(3, 8), torch.rand(3, 8)
    probability[1] = 0
    limits = {"score_thresh": 0.3, "topk_per_level": 2, "topk_per_image": 0}
    batch = select_candidates(probability, scores, LOCATIONS, **limits)
    alone = [
        select_candidates(probability[i : i + 1], scores[i : i + 1], LOCATIONS, **limits) for i in range(3)
    ]
    assert batch.counts == [one.counts[0] for one in alone]
    assert batch.counts[1] == 0
    assert torch.equal(batch.locations.index, torch.cat([one.locations.index for one in alone]))
    assert batch.locations.images.tolist() == [
        i for i, count in enumerate(batch.counts) for _ in range(count)
    ]


def test_the_number_of_candidates_of_an_image_is_limited() -> None:
    scores = torch.tensor(
        [[0.1, 0.5, 0.3, 0.9, 0.8, 0.2, 0.4, 0.6], [0.0, 0.7, 0.0, 0.0, 0.0, 0.0, 0.6, 0.8]]
    )
    chosen = select_candidates(
        scores, scores, LOCATIONS, score_thresh=0.05, topk_per_level=2, topk_per_image=3
    )
    assert chosen.locations.index.tolist() == [3, 4, 7, 7, 1, 6]
    assert chosen.counts == [3, 3]


def test_clipping_does_not_modify_its_argument() -> None:
    boxes = torch.tensor([[-50.0, 0, 10, 10], [20, 0, 30, 10]])
    assert clip_boxes(boxes, (40, 25)).tensor.tolist() == [[0, 0, 10, 10], [20, 0, 25, 10]]
    assert boxes[0, 0] == -50
    assert len(clip_boxes(boxes[:0], (40, 25))) == 0


def test_suppress_keeps_the_best_of_overlapping_boxes() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 10, 4]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.8])
    assert suppress(boxes, scores, nms_thresh=0.5, max_detections=10).tolist() == [1, 3, 2]
    assert suppress(boxes, scores, nms_thresh=0.5, max_detections=2).tolist() == [1, 3]
    assert suppress(boxes[:0], scores[:0], nms_thresh=0.5, max_detections=2).tolist() == []


def test_soft_suppression_lowers_scores_by_the_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 0, 30, 10], [0, 0, 10, 2]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    result = soft_suppress(boxes, scores, nms_thresh=0.3, min_score=0.0, max_detections=10)
    # The second box has an IoU of 0.5 with the first and 0.4 with the last. The first and the last have an
    # IoU of 0.2, which is below the threshold.
    assert result.index.tolist() == [0, 2, 3, 1]
    assert_close(result.scores, torch.tensor([0.9, 0.7, 0.6, 0.8 * 0.5 * (1 - 0.4)]))
    assert soft_suppress(boxes, scores, nms_thresh=0.3, min_score=0.0, max_detections=2).index.tolist() == [
        0,
        2,
    ]
    assert soft_suppress(boxes, scores, nms_thresh=0.3, min_score=0.3, max_detections=10).index.tolist() == [
        0,
        2,
        3,
    ]


def test_soft_suppression_drops_duplicates_and_allows_boxes_without_area() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5]])
    scores = torch.tensor([0.5, 0.9, 0.3, 0.2])
    result = soft_suppress(boxes, scores, nms_thresh=0.3, min_score=0.001, max_detections=10)
    assert result.index.tolist() == [1, 2, 3]
    assert scores.tolist() == torch.tensor([0.5, 0.9, 0.3, 0.2]).tolist()
    assert (
        len(soft_suppress(boxes[:0], scores[:0], nms_thresh=0.3, min_score=0.001, max_detections=10).index)
        == 0
    )
