"""The order of training samples: the same for any number of processes, and after any stop."""

import itertools

import pytest
from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from hypothesis import given
from hypothesis import strategies as st

from posecore.data.sampler import Draw, TrainingBatches, group_batches, shuffled

WIDE = [int(index % 3 == 0) for index in range(23)]


def batches(first_batch, number, *, groups=WIDE, batch_size=4, **processes):
    sampler = TrainingBatches(groups, seed=3, batch_size=batch_size, first_batch=first_batch, **processes)
    return list(itertools.islice(sampler, number))


def test_the_order_is_detectron2s():
    ours = [draw.index for draw in itertools.islice(shuffled(7, seed=3), 30)]
    assert ours == list(itertools.islice(TrainingSampler(7, seed=3), 30))


def test_the_batches_are_detectron2s():
    """Samples of one shape share a batch, as in Detectron2's loader."""
    dicts = [{"index": i, "width": 2 if wide else 1, "height": 1} for i, wide in enumerate(WIDE)]
    loader = build_detection_train_loader(
        dicts,
        mapper=dict,
        sampler=TrainingSampler(len(dicts), seed=3),
        total_batch_size=4,
        aspect_ratio_grouping=True,
        num_workers=0,
    )
    theirs = [[record["index"] for record in batch] for batch in itertools.islice(iter(loader), 30)]
    assert [[draw.index for draw in batch] for batch in batches(0, 30)] == theirs


def test_epochs_are_counted():
    draws = list(itertools.islice(shuffled(5, seed=0), 15))
    assert [draw.epoch for draw in draws] == [0] * 5 + [1] * 5 + [2] * 5
    assert all(sorted(draw.index for draw in draws[n : n + 5]) == list(range(5)) for n in (0, 5, 10))


@pytest.mark.parametrize("groups", [WIDE, [0] * 23])
def test_batches_go_on_where_they_stopped(groups):
    everything = batches(0, 30, groups=groups)
    for stop in (1, 2, 7, 13):
        assert batches(stop, 30 - stop, groups=groups) == everything[stop:]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batches_of_one(processes):
    shares = [batches(3, 20, rank=rank, num_processes=processes) for rank in range(processes)]
    assert {len(batch) for share in shares for batch in share} == {4 // processes}
    joint = [sorted(itertools.chain(*parts)) for parts in zip(*shares, strict=True)]
    assert joint == [sorted(batch) for batch in batches(3, 20)]


@pytest.mark.parametrize(("size", "processes"), [(0, 1), (-2, 1), (3, 2), (1, 2)])
def test_batches_that_cannot_be_shared(size, processes):
    with pytest.raises(ValueError, match=r"SOLVER.IMS_PER_BATCH must be a positive multiple"):
        TrainingBatches(WIDE, seed=0, batch_size=size, num_processes=processes)


def test_no_samples():
    with pytest.raises(ValueError, match="no training samples"):
        TrainingBatches([], seed=0, batch_size=1)


@given(
    groups=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    order=st.lists(st.integers(0, 7), min_size=60, max_size=60),
    batch_size=st.integers(1, 4),
)
def test_no_sample_of_any_stream_is_lost(groups, order, batch_size):
    stream = [Draw(0, index % len(groups)) for index in order]
    made = list(group_batches(iter(stream), groups, batch_size))
    assert all(len(batch) == batch_size and len({groups[d.index] for d in batch}) == 1 for batch in made)
    for group in set(groups):
        own = [draw for draw in stream if groups[draw.index] == group]
        batched = [draw for batch in made for draw in batch if groups[draw.index] == group]
        assert batched == own[: len(own) // batch_size * batch_size]
