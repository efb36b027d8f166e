"""A stream of images, stopped anywhere, goes on with what would have come."""

import itertools

from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from hypothesis import given
from hypothesis import strategies as st

from posecore.data.sampler import ResumableSampler, skip_batches

WIDE = [index % 3 == 0 for index in range(23)]


def batches(first_batch, number, *, grouped=True, num_workers=0, batch_size=4):
    """The indices of so many batches, as Detectron2's loader makes them."""
    dicts = [{"index": i, "width": 2 if wide else 1, "height": 1} for i, wide in enumerate(WIDE)]
    sampler = ResumableSampler(
        len(dicts),
        seed=3,
        batch_size=batch_size,
        groups=WIDE if grouped else [0] * len(dicts),
        first_batch=first_batch,
    )
    loader = build_detection_train_loader(
        dicts,
        mapper=dict,
        sampler=sampler,
        total_batch_size=batch_size,
        aspect_ratio_grouping=grouped,
        num_workers=num_workers,
    )
    return [[record["index"] for record in batch] for batch in itertools.islice(iter(loader), number)]


def test_the_order_is_detectron2s():
    ours = ResumableSampler(7, seed=3, batch_size=2, groups=[0] * 7)
    theirs = TrainingSampler(7, seed=3)
    assert list(itertools.islice(ours, 30)) == list(itertools.islice(theirs, 30))


def test_batches_go_on_where_they_stopped():
    everything = batches(0, 30)
    assert len({tuple(batch) for batch in everything}) == 30
    for stop in (1, 2, 7, 13):
        assert batches(stop, 30 - stop) == everything[stop:]


def test_batches_go_on_with_workers():
    assert batches(5, 6, num_workers=2) == batches(0, 11)[5:]


def test_batches_go_on_without_groups():
    assert batches(5, 6, grouped=False) == batches(0, 11, grouped=False)[5:]


@given(
    groups=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    order=st.lists(st.integers(0, 7), min_size=60, max_size=60),
    batch_size=st.integers(1, 4),
    count=st.integers(0, 5),
)
def test_any_stream_goes_on(groups, order, batch_size, count):
    def make(stream):
        waiting = {group: [] for group in groups}
        for index in stream:
            waiting[groups[index]].append(index)
            if len(waiting[groups[index]]) == batch_size:
                yield waiting[groups[index]]
                waiting[groups[index]] = []

    stream = [index % len(groups) for index in order]
    assert list(make(skip_batches(stream, groups, batch_size, count))) == list(make(stream))[count:]
