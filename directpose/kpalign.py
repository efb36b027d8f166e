"""KPAlign, the keypoint branch that predicts each keypoint from features sampled near it (section 3.2).

:class:`KPAlign` has a tower and three parts. The *locator*, a 3x3 convolution, predicts for each location and
group of keypoints an offset to the point where features are sampled, in cells of l. The *sampler* reads
features at that point bilinearly. The *predictor*, a 1x1 convolution per group, turns the sampled features
into keypoints relative to that point.

Source: DirectPose (arXiv 1911.07451), section 3.2.

Letters: N images, R locations, Q selected locations, K keypoints, G groups of keypoints, C channels of the
tower, l the level of a location, l' the level that it samples, s = stride(l) / stride(l').

Two facts save most of the computation. First, the predictor and bilinear sampling are both linear. So the
whole map is projected to 2 numbers per keypoint, and these are sampled, instead of sampling all features of a
group and projecting them. The bias is added after sampling, because samples outside the map are zero. Second,
a keypoint depends on its own location alone. So only the selected locations are computed: the positive ones
in training, the candidates in inference.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from torch import Tensor, nn

from posecore.config.options import choice
from posecore.layers.precision import full_precision
from posecore.layers.tower import Tower, init_conv
from posecore.modeling.fcos.head import flatten_levels
from posecore.modeling.fcos.locations import Locations, SelectedLocations
from posecore.ops import keypoint_sample
from posecore.ops.bilinear import bilinear
from posecore.ops.exporting import is_exporting
from posecore.structures.skeleton import Skeleton

# The values of MODEL.DIRECTPOSE.SAMPLE_FROM: from a level and a group to the level that the sampler reads.
SAMPLE_FROM: dict[str, Callable[[int, int], int]] = {
    "same": lambda level, group: level,
    "finer": lambda level, group: max(level - 1, 0),
    "finer_first_group_finest": lambda level, group: 0 if group == 0 else max(level - 1, 0),
}


class NoLocator(nn.Module):
    """The locator without an aligner (Table 1): every group samples at the location itself.

    Args:
        num_groups: G.
    """

    def __init__(self, num_groups: int) -> None:
        super().__init__()
        self.num_groups = num_groups

    def forward(self, tower_map: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2G, H, W), all zero."""
        return tower_map.new_zeros(len(tower_map), 2 * self.num_groups, *tower_map.shape[2:])


class KPAlign(nn.Module):
    """The keypoint branch with alignment: tower, locator, sampler and predictor.

    Args:
        tower: maps a level of the pyramid, (N, C', H, W), to (N, C, H, W).
        channels: C, of all groups together.
        groups: the indices of the keypoints of each group; together they are 0..K-1.
        separate: whether each group has C / G channels of its own.
        sample_from: from the level of a location and a group to the level that is sampled.
        aligner: whether a locator predicts where to sample; if not, all groups sample at the location itself.
        norm: norm behind the convolution between the tower and the sampled map.
    """

    def __init__(
        self,
        *,
        tower: nn.Module,
        channels: int,
        groups: Sequence[Sequence[int]],
        separate: bool,
        sample_from: Callable[[int, int], int],
        aligner: bool = True,
        norm: str = "GN",
    ) -> None:
        super().__init__()
        conv_groups = len(groups) if separate else 1
        self.tower = tower
        self.separate = separate
        self.sample_from = sample_from
        self.locator: nn.Module = NoLocator(len(groups))
        if aligner:
            self.locator = init_conv(nn.Conv2d(channels, 2 * len(groups), 3, padding=1, groups=conv_groups))
        self.sampler = Tower(channels, channels, 1, norm, groups=conv_groups, first_groups=conv_groups)
        # The predictors keep PyTorch's uniform initial weights, as in the paper's official code: the
        # keypoints must not all start at the point where their features are sampled.
        self.predictors = nn.ModuleList(
            nn.Conv2d(channels // conv_groups, 2 * len(group), kernel_size=1) for group in groups
        )
        for predictor in self.predictors:
            nn.init.zeros_(predictor.bias)  # type: ignore[arg-type]

        self._group_of = {keypoint: group for group, members in enumerate(groups) for keypoint in members}
        order = torch.tensor([keypoint for members in groups for keypoint in members])
        # The group of each keypoint, and its position among the outputs of the predictors.
        group_of = torch.tensor([self._group_of[keypoint] for keypoint in sorted(self._group_of)])
        self.register_buffer("group_of", group_of, persistent=False)
        self.register_buffer("place", order.argsort(), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, skeleton: Skeleton, in_channels: int) -> "KPAlign":
        """Reads MODEL.DIRECTPOSE, and the size of the tower from MODEL.FCOS.

        Args:
            in_channels: C', channels of the pyramid.
        """
        fcos, node = cfg.MODEL.FCOS, cfg.MODEL.DIRECTPOSE
        single = tuple((keypoint,) for keypoint in range(skeleton.num_keypoints))
        groups = choice(
            cfg, "MODEL.DIRECTPOSE.GROUPS", {"skeleton": skeleton.group_indices, "keypoints": single}
        )
        separate = node.SEPARATE_FEATURES
        channels = node.GROUP_CHANNELS * len(groups) if separate else fcos.CHANNELS
        tower_groups = len(groups) if separate else 1
        return cls(
            tower=Tower(in_channels, channels, fcos.NUM_CONVS, fcos.NORM, groups=tower_groups),
            channels=channels,
            groups=groups,
            separate=separate,
            sample_from=choice(cfg, "MODEL.DIRECTPOSE.SAMPLE_FROM", SAMPLE_FROM),
            aligner=node.ALIGNER,
            norm=fcos.NORM,
        )

    def forward(self, features: list[Tensor], locations: Locations, selected: SelectedLocations) -> Tensor:
        """Predicts the keypoints at Q selected locations, in full precision also under autocast.

        Args:
            features: the pyramid, one (N, C', H_l, W_l) map per level.
            locations: the R locations of these levels.
            selected: Q of the N * R locations.

        Returns:
            (Q, K, 2) positions relative to the location, in cells of its level (equation 2).
        """
        towers = [self.tower(feature) for feature in features]
        sampler_maps = [self.sampler(tower) for tower in towers]
        with torch.autocast(features[0].device.type, enabled=False):
            located = flatten_levels([self.locator(full_precision(tower)) for tower in towers])
            located = located[selected.images, selected.index].unflatten(1, (-1, 2))[:, self.group_of]
            projected = [self._project(full_precision(sampler_map)) for sampler_map in sampler_maps]
            predict = self._predict_by_gathers if is_exporting() else self._predict
            return located + predict(projected, located, locations, selected)

    def _project(self, sampler_map: Tensor) -> Tensor:
        """Applies all predictors without their biases to every cell.

        (N, C, H, W) -> (N, 2K, H, W), x and y of each keypoint in the order of the skeleton.
        """
        weights = [predictor.weight[:, :, 0, 0] for predictor in self.predictors]  # type: ignore[index]
        weight = torch.block_diag(*weights) if self.separate else torch.cat(weights)
        weight = weight.unflatten(0, (-1, 2))[self.place].flatten(0, 1)
        return F.conv2d(sampler_map, weight[:, :, None, None])

    def _predict(
        self, projected: list[Tensor], located: Tensor, locations: Locations, selected: SelectedLocations
    ) -> Tensor:
        """(Q, K, 2) keypoints relative to the sampled points, in cells of the location's level."""
        bias, levels = self._bias(), locations.levels[selected.index]
        predicted = torch.zeros_like(located)
        for level, stride in enumerate(locations.level_strides):
            rows = (levels == level).nonzero()[:, 0]
            images, centers = selected.images[rows], locations.points[selected.index[rows]] / stride
            for source, keypoints in self._sources(level):
                ratio = stride // locations.level_strides[source]
                points = sampling_points(centers[:, None], located[rows], ratio)
                sampled = keypoint_sample(projected[source], points, images).unflatten(1, (-1, 2))
                place = torch.tensor(keypoints, device=rows.device)
                predicted[rows[:, None], place] = ((sampled + bias) / ratio)[:, place]
        return predicted

    def _predict_by_gathers(
        self, projected: list[Tensor], located: Tensor, locations: Locations, selected: SelectedLocations
    ) -> Tensor:
        """The same as :meth:`_predict` without sizes that depend on values, for export."""
        strides, device = locations.level_strides, located.device
        table = [  # the level that each keypoint samples, by the level of the location
            [self.sample_from(level, self._group_of[keypoint]) for keypoint in sorted(self._group_of)]
            for level in range(len(strides))
        ]
        ratios = [[strides[level] // strides[source] for source in row] for level, row in enumerate(table)]
        levels = locations.levels[selected.index]
        source = torch.tensor(table, device=device)[levels]  # (Q, K)
        ratio = torch.tensor(ratios, device=device)[levels][..., None]
        centers = locations.points[selected.index] / locations.strides[selected.index, None]
        points = sampling_points(centers[:, None], located, ratio)
        starts, heights, widths = (
            torch.cat([torch.full((1,), value, device=device, dtype=torch.int64) for value in values])[source]
            for values in (locations.starts, *zip(*locations.sizes, strict=True))
        )
        cells = flatten_levels(projected).unflatten(2, (-1, 2))  # (N, R, K, 2)
        first = starts + selected.images[:, None] * cells.shape[1]
        keypoints, values = torch.arange(cells.shape[2], device=device), cells.flatten(0, 2)

        def read(row: Tensor, column: Tensor) -> Tensor:
            index = (first + row * widths + column) * cells.shape[2] + keypoints
            return values.index_select(0, index.flatten()).unflatten(0, index.shape)

        sampled = bilinear(read, points[..., 0], points[..., 1], heights, widths)
        return (sampled + self._bias()) / ratio

    def _bias(self) -> Tensor:
        """(K, 2) biases of the predictors, in the order of the skeleton."""
        biases = [predictor.bias for predictor in self.predictors]
        return torch.cat(biases).unflatten(0, (-1, 2))[self.place]  # type: ignore[arg-type]

    def _sources(self, level: int) -> list[tuple[int, list[int]]]:
        """The levels that locations of ``level`` sample, each with the keypoints that sample it."""
        sources: dict[int, list[int]] = {}
        for keypoint, group in sorted(self._group_of.items()):
            sources.setdefault(self.sample_from(level, group), []).append(keypoint)
        return sorted(sources.items())


def sampling_points(centers: Tensor, offsets: Tensor, ratio: int | Tensor) -> Tensor:
    """Converts points from cells of the location's level to cells of the sampled map.

    The center of cell j goes to the center of cell s * j + floor(s / 2), as in both official codes (the
    paper's and gluon-cv's). For s = 2 that is half a fine cell to the right of and below its true position.
    The predictor learns this constant, and trained weights contain it.

    Args:
        centers: (..., 2) centers of the locations, in cells of their level.
        offsets: (..., 2) outputs of the locator, in the same cells.
        ratio: s, cells of the sampled map per cell of the location's level; an integer, or (..., 1) integers.

    Returns:
        (..., 2) points in cells of the sampled map.
    """
    return ratio * (centers - 0.5 + offsets) + ratio // 2 + 0.5
