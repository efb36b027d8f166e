"""Generated networks of many images at once: :func:`batched_heatmaps`.

Letters: N images, M networks of each image, C channels, K keypoints, H and W the size of the shared map.
"""

import torch.nn.functional as F
from torch import Tensor

from posecore.modeling.keypoint_network import GeneratedNetworks, KeypointNetworks


def batched_heatmaps(
    keypoint_networks: KeypointNetworks, shared: Tensor, networks: GeneratedNetworks
) -> Tensor:
    """Applies the networks of N images, M each, to the shared maps, as batched products of matrices.

    Args:
        keypoint_networks: the module that generated the networks.
        shared: (N, C, H, W).
        networks: N * M networks, image by image.

    Returns:
        (N * M, K, H', W') heatmaps, as logits; :class:`KeypointNetworks` has the same for one image.
    """
    height, width = shared.shape[2], shared.shape[3]
    relative = keypoint_networks.relative_coordinates(networks, (height, width)).flatten(2)
    first, *rest = keypoint_networks.layers.split(networks.parameters)
    depth, out = relative.shape[1], first.weight.shape[1]
    weight = first.weight[:, :, depth:].reshape(shared.shape[0], -1, shared.shape[1])
    common = (weight @ shared.flatten(2)).reshape(-1, out, height * width)
    maps = common + first.weight[:, :, :depth] @ relative + first.bias[..., None]
    for layer in rest:
        maps = layer.weight @ F.relu(maps) + layer.bias[..., None]
    return keypoint_networks.resize(maps.reshape(maps.shape[0], maps.shape[1], height, width))
