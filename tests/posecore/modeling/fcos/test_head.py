"""The dense head of FCOS."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from posecore.layers.tower import Tower
from posecore.modeling.fcos.head import FCOSHead, PredictionConv, classifier_conv


def make_head() -> FCOSHead:
    return FCOSHead(
        {"a": Tower(8, 8, 2), "b": Tower(8, 4, 1)},
        {
            "cls": PredictionConv("a", classifier_conv(8, 0.01)),
            "ltrb": PredictionConv("b", nn.Conv2d(4, 4, 3, padding=1), num_levels=2),
        },
    )


def test_maps_concatenate_the_levels() -> None:
    head = make_head()
    with torch.no_grad():
        head.predictions["ltrb"].scales.copy_(torch.tensor([2.0, 3.0]))
    features = [torch.randn(2, 8, 5, 3), torch.randn(2, 8, 3, 2)]
    output = head(features)
    assert output.maps["cls"].shape == (2, 5 * 3 + 3 * 2, 1)
    assert [tower.shape for tower in output.towers["b"]] == [(2, 4, 5, 3), (2, 4, 3, 2)]
    second = head.predictions["ltrb"].conv(head.towers["b"](features[1])) * 3
    # Row 1, column 0 of the second level.
    assert_close(output.maps["ltrb"][:, 15 + 2], second[:, :, 1, 0])


def test_the_classifier_starts_at_its_prior() -> None:
    output = make_head()([torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 2, 2)])
    assert_close(output.maps["cls"].sigmoid(), torch.full((1, 20, 1), 0.01), atol=1e-4, rtol=0)


def test_a_prediction_needs_its_tower() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        FCOSHead({"a": Tower(8, 8, 1)}, {"cls": PredictionConv("nowhere", classifier_conv(8, 0.01))})
