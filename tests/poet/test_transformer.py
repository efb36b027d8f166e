"""The transformer: how it starts, what it may look at, and what a part in another's place sees."""

import math

import pytest
import torch
from helpers.poet_oracle import build
from torch import Tensor, nn
from torch.testing import assert_close

from poet.transformer import Cells, DecoderLayer, DeformableEncoderLayer, EncoderLayer, Transformer
from posecore.modeling.set_prediction.queries import LearnedQueries, Queries

WIDTH = 16


class Recorder(nn.Module):
    """Stands for a cross-attention and finds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Queries, Cells]] = []

    def forward(
        self, x: Tensor, queries: Queries, memory: Cells, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        self.calls.append((queries, memory))
        return torch.zeros_like(x), None


class NoUpdate(nn.Module):
    """Stands for a residual connection and drops the update."""

    def forward(self, x: Tensor, update: Tensor) -> Tensor:
        return x


def cells() -> Cells:
    return Cells(
        torch.randn(2, 6, WIDTH), torch.randn(2, 6, WIDTH), torch.zeros(2, 6, dtype=torch.bool), (2, 3)
    )


def transformer(*cross_attentions: nn.Module) -> Transformer:
    decoder = [DecoderLayer(part, WIDTH, 2, 32, 0.0) for part in cross_attentions]
    return Transformer([EncoderLayer(WIDTH, 2, 32, 0.0)], decoder, WIDTH)


def test_matrices_start_by_xavier() -> None:
    """The matrix of queries, keys and values is one of 3 D rows."""
    model = build("R_50.yaml")
    layer = model.transformer.decoder[5]
    for matrix in (
        layer.self_attention.in_proj_weight,
        layer.cross_attention.attention.out_proj.weight,
        layer.feed_forward[0].weight,
    ):
        bound = math.sqrt(6 / sum(matrix.shape))
        assert 0.98 * bound < matrix.abs().max() <= bound
    assert layer.self_attention.in_proj_weight.shape == (768, 256)
    assert model.queries.positions.weight.std().item() == pytest.approx(1, abs=0.05)


def test_deformable_attention_keeps_its_start() -> None:
    layer = DeformableEncoderLayer(WIDTH, 2, 3, 32, 0.0)
    layer.layer.attention.sampling_offsets.weight.data.fill_(1.0)
    Transformer([layer], [], WIDTH)
    attention = layer.layer.attention
    assert not attention.sampling_offsets.weight.any()
    assert not attention.attention_weights.weight.any()
    # Two heads look to the right and to the left, with three points each.
    expected = torch.tensor([[1.0, 0.0], [2, 0], [3, 0], [-1, 0], [-2, 0], [-3, 0]])
    assert_close(attention.sampling_offsets.bias.view(-1, 2), expected)


def test_the_deformable_encoder_reads_around_each_cell() -> None:
    """By attention alone a cell is the mean of its points: bilinear, zero beyond the map and in padding."""
    encoder = DeformableEncoderLayer(4, 1, 2, 8, 0.0)
    layer = encoder.layer
    layer.after_attention.norm = nn.Identity()
    layer.after_feed_forward = NoUpdate()
    with torch.no_grad():
        for linear in (layer.attention.value_proj, layer.attention.output_proj):
            linear.weight.copy_(torch.eye(4))
        layer.attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.5]))
    values = torch.randn(1, 12, 4)
    padding = torch.zeros(1, 3, 4, dtype=torch.bool)
    padding[:, :, 3] = True
    given = Cells(values, torch.randn(1, 12, 4), padding.flatten(1), (3, 4))
    found, weights = encoder(values, given, need_weights=True)
    grid = values[0].view(3, 4, 4) * ~padding[0, ..., None]
    grid = torch.cat([grid, torch.zeros(1, 4, 4)])
    for y in range(3):
        for x in range(3):
            below = (grid[y, x] + grid[y + 1, x]) / 2
            expected = values[0, 4 * y + x] + (grid[y, x + 1] + below) / 2
            assert_close(found[0, 4 * y + x], expected)
    assert weights is None


def test_another_cross_attention_gets_the_map_and_its_size() -> None:
    part = Recorder()
    found = transformer(part)(cells(), LearnedQueries(4, WIDTH)(2))
    queries, memory = part.calls[0]
    assert found.states.shape == (1, 2, 4, WIDTH)
    assert memory.size == (2, 3)
    assert torch.equal(memory.values, found.memory)
    assert queries.positions.shape == (2, 4, WIDTH)


def test_hidden_queries_are_not_seen() -> None:
    """As queries for denoising need it: the first four must not know the last two."""
    model = transformer(Recorder(), Recorder())
    values, positions, some = torch.randn(2, 6, WIDTH), torch.randn(2, 6, WIDTH), cells()
    hidden = torch.zeros(6, 6, dtype=torch.bool)
    hidden[:4, 4:] = True
    with torch.no_grad():
        together = model(some, Queries(values, positions, hidden)).states
        alone = model(some, Queries(values[:, :4], positions[:, :4])).states
    assert_close(together[:, :, :4], alone)
