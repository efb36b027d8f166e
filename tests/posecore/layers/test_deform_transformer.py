"""The deformable encoder: where cells are, what padding does, and how levels are made."""

import pytest
import torch
from torch.testing import assert_close

from posecore.layers.deform_transformer import (
    DeformableEncoder,
    DeformableLayer,
    PyramidProjection,
    pyramid_cells,
)

WIDTH = 16
SHAPES = [(6, 8), (3, 4)]


def maps() -> list[torch.Tensor]:
    return [torch.randn(2, WIDTH, *shape) for shape in SHAPES]


def paddings() -> list[torch.Tensor]:
    """The first image is whole, the second one takes (4, 5) and (2, 3) cells."""
    masks = [torch.ones(2, *shape, dtype=torch.bool) for shape in SHAPES]
    for mask, (height, width) in zip(masks, [(4, 5), (2, 3)], strict=True):
        mask[0] = False
        mask[1, :height, :width] = False
    return masks


def encoder(num_layers: int = 2) -> DeformableEncoder:
    layers = [DeformableLayer(WIDTH, 2, len(SHAPES), 2, 32) for _ in range(num_layers)]
    return DeformableEncoder(layers, len(SHAPES), WIDTH)


def test_cells_know_where_they_are() -> None:
    levels = maps()
    cells = pyramid_cells(levels, paddings())
    assert cells.shapes == SHAPES
    assert torch.equal(cells.values[:, 8 + 3], levels[0][:, :, 1, 3])
    assert torch.equal(cells.values[:, 48 + 4 + 2], levels[1][:, :, 1, 2])
    assert_close(cells.shares, torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[5 / 8, 4 / 6], [3 / 4, 2 / 3]]]))
    assert_close(cells.centers[0, 11], torch.tensor([3.5 / 8, 1.5 / 6]))
    assert_close(cells.centers[1, 11], torch.tensor([3.5 / 5, 1.5 / 4]))
    assert_close(cells.centers[1, 54], torch.tensor([2.5 / 3, 1.5 / 2]))
    assert (cells.centers[1][cells.padding[1]] > 1).any(dim=1).all()
    assert ((cells.centers > 0) & (cells.centers < 1)).all(dim=-1)[~cells.padding].all()


def test_references_are_relative_to_each_padded_level() -> None:
    cells = pyramid_cells(maps(), paddings())
    references = cells.references(torch.tensor([[[0.5, 1.0]], [[0.4, 0.6]]]))
    assert references.shape == (2, 1, 2, 1, 2)
    assert_close(references[0, 0, :, 0], torch.tensor([[0.5, 1.0], [0.5, 1.0]]))
    assert_close(references[1, 0, :, 0], torch.tensor([[0.25, 0.4], [0.3, 0.4]]))


def test_padding_does_not_count() -> None:
    """An image gives the same alone and beside a larger one, whatever stands beyond its border."""
    model, levels = encoder(), maps()
    together = model(levels, paddings())
    alone = [x[1:, :, :height, :width] for x, (height, width) in zip(levels, [(4, 5), (2, 3)], strict=True)]
    single = model(alone, [torch.zeros(1, *x.shape[2:], dtype=torch.bool) for x in alone])
    assert_close(together.values[1][~together.padding[1]], single.values[0])


def test_new_layers_start_as_they_should() -> None:
    layer = DeformableLayer(WIDTH, 2, 2, 2, 32)
    assert not layer.attention.sampling_offsets.weight.any()
    limit = (6 / (WIDTH + 32)) ** 0.5
    assert 0.9 * limit < layer.feed_forward[0].weight.abs().max() <= limit


def test_every_parameter_has_a_gradient() -> None:
    model = encoder()
    model(maps(), paddings()).values.sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("num_extra", [0, 1, 2])
def test_levels_above_the_last_map(num_extra: int) -> None:
    projection = PyramidProjection([3, 5], WIDTH, num_extra)
    given = [torch.randn(1, 3, 9, 13), torch.randn(1, 5, 5, 7)]
    levels = projection(given)
    sizes = [(9, 13), (5, 7), (3, 4), (2, 2)][: 2 + num_extra]
    assert [tuple(level.shape) for level in levels] == [(1, WIDTH, *size) for size in sizes]
    if num_extra:
        assert torch.equal(levels[2], projection.levels[2](given[1]))


def test_exports_with_open_sizes() -> None:
    class OnMaps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder(1)

        def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
            levels = [fine, coarse]
            return self.encoder(levels, [x.new_zeros(1, *x.shape[2:]) > 0 for x in levels]).values

    def inputs(*sizes: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.randn(1, WIDTH, *size) for size in sizes)

    model, size = OnMaps(), torch.export.Dim.DYNAMIC
    open_sizes = ({2: size, 3: size}, {2: size, 3: size})
    exported = torch.export.export(model, inputs((8, 6), (4, 3)), dynamic_shapes=open_sizes)
    others = inputs((5, 9), (3, 5))
    assert_close(exported.module()(*others), model(*others))
