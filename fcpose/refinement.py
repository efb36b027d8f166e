"""How far keypoints are from the centers of chosen cells: by a map of all persons, or by a person's own rule.

Letters: N images, Q queries, K keypoints, n cells per keypoint, C channels of F, H and W the size of the
heatmaps.
"""

import torch
from torch import Tensor, nn

from fcpose.basis import SharedMaps
from posecore.modeling.fcos.estimator import Dense
from posecore.modeling.fcos.queries import Queries
from posecore.modeling.keypoint_network import KeypointNetworks
from posecore.structures.heatmaps import cell_centers


class SharedRefinement(nn.Module):
    """Reads the offsets that all persons of an image share (section 3.2)."""

    def forward(self, shared: SharedMaps, dense: Dense, queries: Queries, cells: Tensor) -> Tensor:
        """(Q, K, n) cells, row * W + column, of the queries' persons -> (Q, K, n, 2), pixels."""
        width = shared.offsets.shape[4]
        images = queries.images[:, None, None]
        each = torch.arange(cells.shape[1], device=cells.device)[:, None]
        return shared.offsets[images, each, :, cells // width, cells % width]


class PersonalRefinement(nn.Module):
    """Generates a 1x1 convolution on F for every person (Table 5), and applies it at the cells alone.

    Args:
        networks: from F to 2K channels, x and y of each keypoint, in cells.
    """

    def __init__(self, networks: KeypointNetworks) -> None:
        super().__init__()
        self.networks = networks

    def forward(self, shared: SharedMaps, dense: Dense, queries: Queries, cells: Tensor) -> Tensor:
        """As :meth:`SharedRefinement.forward`."""
        own = self.networks.generate(dense.towers["box"], dense.locations, queries)
        width, stride = shared.bases.shape[3], self.networks.stride
        (layer,) = self.networks.layers.split(own.parameters)
        weight, bias = layer.weight.unflatten(1, (-1, 2)), layer.bias.unflatten(1, (-1, 2))
        images = queries.images[:, None, None]
        features = shared.bases[images, :, cells // width, cells % width]  # (Q, K, n, C)
        relative = own.points[:, None, None] - cell_centers(cells, width, stride)
        relative = relative / own.ranges[:, None, None, None]
        inputs = torch.cat([relative, features], dim=-1)
        with torch.autocast(inputs.device.type, enabled=False):
            return (inputs @ weight.transpose(2, 3) + bias[:, :, None]) * stride
