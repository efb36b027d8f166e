"""The benchmarks of operators: both sides of a comparison do the same work."""

import pytest
import torch

from posecore.benchmarks import keypoint_sample as sampling
from posecore.benchmarks import ms_deform_attn as attention
from posecore.benchmarks.timing import ImageBatch, take_turns
from posecore.ops import keypoint_sample

BATCH = ImageBatch(num_images=2, size=(100, 164), device="cpu")


@pytest.mark.parametrize("case", sampling.CASES, ids=lambda case: case.name)
def test_both_operators_are_given_the_same_reads(case):
    for stride in sampling.STRIDES:
        data = sampling.make_example(case, stride, torch.float32, BATCH)
        theirs = sampling.by_grid_sample(data.value, data.grid)  # (N*G, c, 1, Q/N)
        theirs = theirs.view(2, case.groups, case.group_channels, -1).permute(0, 3, 1, 2)
        torch.testing.assert_close(
            keypoint_sample(data.value, data.points, data.images),
            theirs.reshape(len(data.points), -1),
            atol=1e-4,
            rtol=0,
        )


def test_both_forms_of_attention_are_given_the_same_reads():
    for case in attention.cases(BATCH):
        data = case.make(torch.float32, "cpu")
        assert data.locations.shape[-2] == attention.POINTS
        inputs = data.shapes, data.value, data.locations, data.weights
        torch.testing.assert_close(
            attention.ours(*inputs), attention.by_grid_sample(*inputs), atol=1e-4, rtol=1e-4
        )


def test_candidates_take_turns():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in ("one", "two")}
    times = take_turns(candidates, rounds=3, device="cpu")
    assert calls == ["one", "two"] * 4
    assert set(times) == {"one", "two"}
