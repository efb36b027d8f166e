"""The costs of predictions: counts by hand, and figures of the papers."""

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from posecore.benchmarks.cost import chosen_rows, cost_table, example, measure, published_rows
from posecore.config import get_cfg
from posecore.config.repository import CONFIGS
from posecore.modeling.backbones.hrformer import WindowAttention
from posecore.ops import keypoint_sample, ms_deform_attn


class Layers(nn.Module):
    """On 8 x 6 cells: convolution, norm, ReLU, pooling to 4 x 3, and a linear layer on their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 5)
        self.only_in_training = nn.Linear(7, 7)
        self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)

    def forward(self, inputs: list[dict]) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(inputs[0]["image"]))), 2)
        return self.linear(x.mean(dim=(2, 3))) + self.frozen


def test_layers_by_hand() -> None:
    found = measure(Layers(), [{"image": torch.zeros(2, 3, 8, 6)}])
    cells = 2 * 8 * 6
    convolution, norm, relu, pooling, linear = (
        4 * 3 * 9 * cells,
        2 * 4 * cells,
        4 * cells,
        4 * cells,
        2 * 4 * 5,
    )
    assert found.layers == convolution + norm + relu + pooling + linear
    assert found.attention == 0
    assert found.parameters == 4 * 3 * 9 + 2 * 4 + (4 + 1) * 5
    assert found.training == found.parameters + (7 + 1) * 7


class Attention(nn.Module):
    """7 queries of 8 channels in two heads."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        return self.attention(queries, queries, queries, need_weights=self.need_weights)[0]


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_by_hand(need_weights: bool) -> None:
    """All of it is overlooked by tools that look at layers."""
    found = measure(Attention(need_weights), torch.zeros(3, 7, 8))
    projections, products = 3 * 7 * 4 * 8 * 8, 3 * 2 * 7 * 7 * 8
    assert found.layers == 0
    assert found.attention == projections + products
    assert found.parameters == found.training == 4 * 8 * 9


class Windows(nn.Module):
    """Four windows of 3 x 3 cells and 4 channels, of which padding makes a part."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = WindowAttention(channels=4, heads=2, window=3)

    def forward(self, inputs: list[dict]) -> torch.Tensor:
        return self.attention(inputs[0]["image"])


def test_windows_by_hand() -> None:
    found = measure(Windows(), [{"image": torch.zeros(1, 4, 5, 4)}])
    projection, products = 4 * 9 * 4 * 4, 4 * 2 * 9 * 9 * 4
    assert found.layers == 3 * projection
    assert found.attention == projection + products


class Sampling(nn.Module):
    def forward(self, inputs: None) -> None:
        # 9 locations of 5 groups of 2 channels; 6 queries of 2 heads that read 3 points of one level.
        keypoint_sample(torch.zeros(1, 10, 4, 4), torch.zeros(9, 5, 2), torch.zeros(9, dtype=torch.int64))
        locations, weights = torch.zeros(1, 6, 2, 1, 3, 2), torch.zeros(1, 6, 2, 1, 3)
        ms_deform_attn(torch.zeros(1, 16, 1, 8), [(4, 4)], locations, weights)


def test_sampling_by_hand() -> None:
    found = measure(Sampling(), None)
    assert found.layers == 4 * 9 * 10
    assert found.attention == (4 + 1) * 6 * 2 * 3 * 8


def test_an_example_is_an_image_of_the_mean_color() -> None:
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "fcpose/R_50_1x.yaml"))
    image = example(cfg, (64, 96))[0]["image"]
    assert image.shape == (3, 64, 96)
    assert (image - torch.tensor(cfg.MODEL.PIXEL_MEAN)[:, None, None]).abs().max() <= 0.5


def test_an_example_is_one_crop_where_models_take_crops() -> None:
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS / "poseur/MobileNetV2_256x192.yaml"))
    crop = example(cfg, (64, 96))[0]["crops"]
    assert crop.shape == (1, 3, 256, 192)
    center = crop[0, :, 128, 96]
    assert (center - torch.tensor(cfg.MODEL.PIXEL_MEAN)).abs().max() <= 1


def test_table_of_chosen_configurations() -> None:
    table = cost_table(chosen_rows(["poseur/MobileNetV2_256x192.yaml"], []), (800, 1216))
    header, _, line = ([cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines())
    row = dict(zip(header[:6], line[:6], strict=True))
    assert row["input"] == "256 x 192"
    # The official model has 0.06 M more: its queries' projection, less what pooling the backbone costs.
    assert float(row["params M"]) == pytest.approx(11.25, abs=0.07)
    assert float(row["in training"]) - float(row["params M"]) == pytest.approx(0.11, abs=0.02)
    # The official code's count is 0.487.
    assert float(line[6]) == pytest.approx(0.487, rel=0.02)
    assert line[7] == "0.5"
    assert float(line[8]) == pytest.approx(float(line[6]) / 0.5, abs=2e-3)


def test_rows_are_of_configurations_that_exist(root) -> None:
    rows = published_rows()
    assert len({row.label for row in rows}) == len(rows)
    for row in rows:
        assert row.config_file.is_file(), row.label
        assert row.paper.keys() <= {"params", "GFLOPs"}, row.label
    assert yaml.safe_load((root / "configs/paper/costs.yaml").read_text()).keys() >= {"poseur", "poet"}
