"""The benchmark of KPAlign: its forms compute the same keypoints."""

import torch
from torch import nn

from directpose.benchmark import GROUP_CHANNELS, sample_then_predict, time_kpalign
from directpose.kpalign import SAMPLE_FROM, KPAlign
from posecore.modeling.fcos.locations import SelectedLocations, make_locations

GROUPS = ((0, 1), (2,))
SIZES, STRIDES = [(7, 9), (4, 5)], [8, 16]


def test_the_papers_order_gives_the_same_keypoints():
    channels = GROUP_CHANNELS * len(GROUPS)
    kpalign = KPAlign(
        tower=nn.Identity(),
        channels=channels,
        groups=GROUPS,
        separate=True,
        sample_from=SAMPLE_FROM["finer"],
    )
    maps = [torch.randn(1, channels, *size) for size in SIZES]
    locations = make_locations(SIZES, STRIDES)
    ours = kpalign(maps, locations, SelectedLocations.everywhere(1, len(locations)))  # (R, K, 2)
    starts = [*locations.starts, len(locations)]
    expected = [
        ours[starts[level] : starts[level + 1], list(group)].permute(1, 2, 0).flatten()
        for level in range(len(SIZES))
        for group in GROUPS
    ]
    plain = sample_then_predict(kpalign, maps, locations)
    torch.testing.assert_close(plain, torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_every_form_is_timed(capsys):
    time_kpalign(size=(64, 96), num_candidates=5, device="cpu", threads=1, rounds=1)
    printed = capsys.readouterr().out
    assert "project, then sample, 5 locations" in printed
    assert "sample, then predict, everywhere" in printed
