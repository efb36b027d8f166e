"""The persons of a batch as targets."""

import torch
from helpers.set_prediction import persons_of, targets
from torch.testing import assert_close


def test_persons_know_their_images() -> None:
    people = targets(2, 0, 3)
    persons = persons_of(people)
    assert len(persons) == 5
    assert persons.images.tolist() == [0, 0, 2, 2, 2]
    assert persons.labels.tolist() == [0] * 5
    assert persons.sizes.tolist() == [[128, 96]] * 5
    assert_close(persons.areas, torch.cat([target.gt_boxes.area() for target in people]))
    keypoints = torch.cat([people[0].gt_keypoints.tensor, people[2].gt_keypoints.tensor])
    visible = keypoints[..., 2] > 0
    found = persons.poses.keypoints * persons.sizes[:, None]
    assert_close(found[visible], keypoints[..., :2][visible])


def test_what_counts_as_visible_is_a_choice() -> None:
    people = targets(4)
    flags = people[0].gt_keypoints.tensor[..., 2]
    assert torch.equal(persons_of(people, 2).poses.visibility, (flags == 2).float())
    assert torch.equal(persons_of(people, 1).poses.visibility, (flags >= 1).float())


def test_indexing_takes_whole_persons() -> None:
    persons = persons_of(targets(2, 3))
    some = persons[torch.tensor([3, 0])]
    assert len(some) == 2
    assert some.images.tolist() == [1, 0]
    assert torch.equal(some.poses.keypoints[0], persons.poses.keypoints[3])
