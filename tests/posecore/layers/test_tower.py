import pytest
import torch
from torch import nn
from torch.testing import assert_close

from posecore.layers.norm import make_norm
from posecore.layers.tower import Tower


def test_groups_do_not_see_each_other_after_the_first_convolution() -> None:
    tower = Tower(6, 16, 3, groups=2, first_groups=2)
    image = torch.randn(1, 6, 5, 5)
    assert tower[1].num_groups == 4
    changed = image.clone()
    changed[:, 3:] += 1
    before, after = tower(image), tower(changed)
    assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


@pytest.mark.parametrize(("norm", "bias"), [("GN", True), ("BN", False), ("SyncBN", False), ("", True)])
def test_only_batch_norms_replace_the_bias(norm: str, bias: bool) -> None:
    tower = Tower(8, 8, 1, norm)
    assert (tower[0].bias is not None) == bias


def test_depth_and_start() -> None:
    tower = Tower(8, 32, 4)
    assert [type(layer) for layer in tower] == [nn.Conv2d, nn.GroupNorm, nn.ReLU] * 4
    assert tower[3].weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert tower[3].bias.abs().max() == 0
    assert len(Tower(8, 8, 0)) == 0


def test_group_norm_fits_any_width() -> None:
    assert make_norm("GN", 256).num_groups == 32
    assert make_norm("GN", 128).num_groups == 32
    assert make_norm("GN", 8).num_groups == 2
    assert make_norm("GN", 48).num_groups == 4
    assert make_norm("GN", 5).num_groups == 1
    assert make_norm("GN", 256)(torch.zeros(1, 256, 1, 1)).isfinite().all()


def test_unknown_norm_is_named() -> None:
    with pytest.raises(ValueError, match="LN3"):
        make_norm("LN3", 8)


def test_biases_may_be_asked_for_or_left_out() -> None:
    assert Tower(8, 8, 1, "GN", bias=False)[0].bias is None
    assert Tower(8, 8, 1, "BN", bias=True)[0].bias is not None
