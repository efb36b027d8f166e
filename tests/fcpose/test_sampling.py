"""The sampling of the positives that train keypoints."""

import pytest
import torch

from fcpose.sampling import sample_positives


def test_the_most_confident_positives_of_every_person_are_sampled() -> None:
    persons = torch.tensor([4, 4, 4, 4, 1, 7, 7])
    confidence = torch.tensor([0.1, 0.9, 0.5, 0.8, 0.2, 0.3, 0.4])
    sample = sample_positives(persons, confidence, limit=6)
    assert sample.index.tolist() == [1, 3, 4, 5, 6]
    assert sample.weights.tolist() == [0.5, 0.5, 1, 0.5, 0.5]


def test_more_persons_than_the_limit() -> None:
    confidence = torch.tensor([0.3, 0.1, 0.9, 0.2, 0.8])
    sample = sample_positives(torch.tensor([0, 1, 2, 3, 2]), confidence, limit=2)
    assert sample.index.tolist() == [0, 2]
    assert sample.weights.tolist() == [1, 1]


def test_no_positives() -> None:
    sample = sample_positives(torch.zeros(0, dtype=torch.int64), torch.zeros(0), limit=50)
    assert sample.index.shape == sample.weights.shape == (0,)


@pytest.mark.parametrize("limit", [1, 5, 50, 1000])
def test_the_limit_holds_and_persons_have_equal_weights(limit: int) -> None:
    persons = torch.randint(0, 20, (300,))
    sample = sample_positives(persons, torch.rand(300), limit)
    assert len(sample.index) <= limit
    sums = torch.zeros(20).index_add_(0, persons[sample.index], sample.weights)
    assert all(total == pytest.approx(1) for total in sums[sums > 0].tolist())
    assert (sums > 0).sum() == min(limit, len(persons.unique()))
