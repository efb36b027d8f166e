"""Proposals: which cells are selected, and where their poses start."""

from pathlib import Path

import pytest
import torch
from helpers.oracles import arrays
from torch.testing import assert_close

from posecore.layers.deform_transformer import PyramidCells, pyramid_cells
from posecore.modeling.set_prediction.proposals import ProposalHead, selectable_cells

WIDTH, K = 8, 3


def cells(height: int = 4, width: int = 5, extent: tuple[int, int] | None = None) -> PyramidCells:
    """One level of one image, which takes ``extent`` rows and columns."""
    padding = torch.ones(1, height, width, dtype=torch.bool)
    rows, columns = extent or (height, width)
    padding[:, :rows, :columns] = False
    return pyramid_cells([torch.randn(1, WIDTH, height, width)], [padding])


def test_cells_at_the_border_are_those_of_the_official_code(shared: Path) -> None:
    """Also where a center lies exactly on the limit, at 50 and 150 cells."""
    table = arrays(shared / "oracles/grouppose/case_data/outputs.npz")["border_table"]
    for count, first, last in table.tolist():
        level = cells(int(count), 3)
        found = selectable_cells(level).view(int(count), 3)[:, 1].nonzero()[:, 0]
        assert (found[0].item(), found[-1].item()) == (first, last), count


def test_the_best_cells_come_first() -> None:
    head = ProposalHead(WIDTH, 2, K, num_queries=7)
    memory = cells()
    proposals = head(memory)
    features = head.norm(head.project(memory.values))
    best = head.classifier(features).amax(dim=-1)[0].argsort(descending=True)[:7]
    assert torch.equal(proposals.cells[0], best)
    assert_close(proposals.logits[0], head.classifier(features)[0, best])
    assert_close(proposals.features[0], features[0, best])
    assert proposals.keypoints.shape == (1, 7, K, 2)


def test_poses_start_at_the_centers_of_their_cells() -> None:
    head = ProposalHead(WIDTH, 1, K, num_queries=20)
    head.regressor.start_at_zero()
    memory = cells()
    proposals = head(memory)
    expected = memory.centers[0, proposals.cells[0]][:, None].expand(-1, K, -1)
    assert_close(proposals.keypoints[0], expected)


def test_padding_is_selected_only_where_there_are_too_few_cells() -> None:
    memory = cells(4, 5, extent=(2, 3))
    assert not memory.padding[0, ProposalHead(WIDTH, 1, K, 6)(memory).cells].any()
    more = ProposalHead(WIDTH, 1, K, 9)(memory)
    assert memory.padding[0, more.cells].sum() == 3
    assert more.keypoints.isfinite().all()
    more.keypoints.sum().backward()
    every = ProposalHead(WIDTH, 1, K, 100)(memory)
    assert sorted(every.cells[0].tolist()) == list(range(20))


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_half_precision_gives_full_precision(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=dtype):
        proposals = ProposalHead(WIDTH, 1, K, 5)(cells())
    assert proposals.logits.dtype == proposals.keypoints.dtype == torch.float32
