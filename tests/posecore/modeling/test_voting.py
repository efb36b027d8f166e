"""Votes on keypoints, beside a slow reference of loops."""

import math

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.testing import assert_close

from posecore.modeling.voting import vote_on_keypoints


def poses(keypoints: Tensor, boxes: Tensor, scores: Tensor) -> Instances:
    return Instances((100, 120), pred_keypoints=keypoints, pred_boxes=Boxes(boxes), scores=scores)


def random_poses(count: int, num_keypoints: int) -> Instances:
    """Poses of two persons, each found several times at about the same place."""
    persons = torch.tensor([[10.0, 10, 50, 70], [60, 20, 110, 90]])[torch.arange(count) % 2]
    boxes = persons + 3 * torch.randn(count, 4)
    share = torch.rand(2, num_keypoints, 2)[torch.arange(count) % 2]
    points = persons[:, None, :2] + share * (persons[:, None, 2:] - persons[:, None, :2])
    points = points + 4 * torch.randn(count, num_keypoints, 2)
    confidence = torch.rand(count, num_keypoints, 1)
    return poses(torch.cat([points, confidence], dim=2), boxes, torch.rand(count))


def overlap(one: list[float], other: list[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


def reference(kept: Instances, found: Instances) -> Tensor:
    """The definition, keypoint by keypoint and vote by vote."""
    result = kept.pred_keypoints.clone()
    boxes = found.pred_boxes.tensor.tolist()
    for person, box in enumerate(kept.pred_boxes.tensor.tolist()):
        width = 0.1 * math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        voters = [row for row in range(len(found)) if overlap(box, boxes[row]) > 0.5]
        for index in range(result.shape[1]):
            ballots = []
            for row in voters:
                x, y, confidence = found.pred_keypoints[row, index].tolist()
                ballots.append((x, y, confidence * found.scores[row].item()))
            best: list[float] = []
            for place in ballots:
                votes = [
                    math.exp(-0.5 * (math.dist(place[:2], other[:2]) / width) ** 2) * other[2]
                    for other in ballots
                ]
                if sum(votes) > sum(best):
                    best = votes
            for axis in range(2):
                mean = sum(vote * place[axis] for vote, place in zip(best, ballots, strict=True)) / sum(best)
                result[person, index, axis] = mean
    return result


@pytest.mark.parametrize("num_keypoints", [5, 14, 133])
def test_votes_are_those_of_the_definition(num_keypoints: int) -> None:
    found = random_poses(9, num_keypoints)
    kept = found[:2]
    before = found.pred_keypoints.clone()
    voted = vote_on_keypoints(kept, found)
    assert_close(voted, reference(kept, found), rtol=1e-4, atol=1e-3)
    assert not torch.allclose(voted, kept.pred_keypoints, atol=0.5)
    assert torch.equal(voted[..., 2], kept.pred_keypoints[..., 2])
    assert torch.equal(found.pred_keypoints, before)


def test_where_two_of_three_agree_theirs_is_the_place_and_no_mean() -> None:
    box = torch.tensor([[0.0, 0, 50, 80]]).repeat(3, 1)
    keypoints = torch.tensor([[[5.0, 10, 0.5]], [[45, 60, 0.4]], [[45, 60, 0.4]]])
    found = poses(keypoints, box, torch.tensor([0.9, 0.8, 0.8]))
    assert_close(vote_on_keypoints(found[:1], found), torch.tensor([[[45.0, 60, 0.5]]]))
    # Alone, the other one has fewer votes, by its lower score and confidence.
    assert_close(vote_on_keypoints(found[:1], found[:2]), found.pred_keypoints[:1])


def test_other_persons_have_no_vote() -> None:
    found = random_poses(8, 5)
    alone = found[torch.arange(0, 8, 2)]
    assert_close(vote_on_keypoints(alone[:1], alone), vote_on_keypoints(alone[:1], found))


def test_keypoints_without_confidence_and_empty_boxes_stay() -> None:
    found = random_poses(4, 5)
    found.pred_keypoints[:, 2, 2] = 0
    found.pred_boxes.tensor[1, 2:] = found.pred_boxes.tensor[1, :2]
    voted = vote_on_keypoints(found[:2], found)
    assert torch.equal(voted[0, 2], found.pred_keypoints[0, 2])
    assert torch.equal(voted[1], found.pred_keypoints[1])
    assert voted.isfinite().all()


def test_nobody() -> None:
    found = random_poses(0, 5)
    assert vote_on_keypoints(found, found).shape == (0, 5, 3)
