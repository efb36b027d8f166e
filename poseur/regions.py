"""The keypoint network of Mask R-CNN with Poseur (section 4.3): :class:`RegionNetwork`.

It predicts a coarse pose from each region's features and refines it on the maps of the whole image.

Letters: N images, P regions of all images, K keypoints, C channels, E of the decoder, L levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from fvcore.nn import weight_init
from torch import Tensor, nn

from posecore.layers.precision import full_precision
from poseur.decoder import Decoder
from poseur.encoder import KeypointEncoder
from poseur.heads import CoarseHead
from poseur.memory import ChannelMapper, Memory, PositionedLevels
from poseur.network import pool
from poseur.prediction import COARSE, Prediction, decoder_stages


@dataclass(frozen=True)
class Regions:
    """Boxes of persons, image by image, and the maps between their coordinates and those of the images.

    Attributes:
        boxes: (P, 4) corners in pixels.
        counts: the number of boxes of each of the N images.
        size: (height, width) of the padded images, pixels.
    """

    boxes: Tensor
    counts: list[int]
    size: tuple[int, int]

    @property
    def extents(self) -> Tensor:
        """(P, 1, 2) width and height, at least one pixel, because shares of a box are divided by them."""
        return (self.boxes[:, None, 2:] - self.boxes[:, None, :2]).clamp(min=1)

    def pixels(self, shares: Tensor) -> Tensor:
        """(P, K, 2) shares of the boxes' width and height -> pixels."""
        return self.boxes[:, None, :2] + shares * self.extents

    def shares(self, pixels: Tensor) -> Tensor:
        """(P, K, 2) pixels -> shares of the boxes' width and height, outside [0, 1] beside a box."""
        return (pixels - self.boxes[:, None, :2]) / self.extents

    def image(self) -> Tensor:
        """(2,) width and height of the padded images, pixels."""
        return self.boxes.new_tensor(self.size[::-1])


class RegionHead(nn.Module):
    """Predicts coarse poses from the features of regions: convolutions, a mean, and linear layers.

    The convolutions are those of Mask R-CNN's keypoint head.

    Args:
        in_channels: C.
        widths: output channels of the 3x3 convolutions, each followed by a ReLU.
        head: from the mean over the last convolution's map to predictions.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], head: CoarseHead) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        for before, after in zip((in_channels, *widths), widths, strict=False):
            conv = nn.Conv2d(before, after, 3, padding=1)
            weight_init.c2_msra_fill(conv)
            self.convs.append(conv)
        self.head = head

    def forward(self, features: Tensor) -> Prediction:
        """(P, C, h, w) -> (P, K, 2), in shares of the regions."""
        for conv in self.convs:
            features = F.relu(conv(features))
        pooled = full_precision(pool(features))
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled)


class RegionDecoder(nn.Module):
    """Refines the poses of regions on the maps of their images; keypoints may leave their region.

    References are in coordinates of the image, so that queries can attend to all of it. The queries of a
    person attend to each other, but not to those of other persons.

    Args:
        neck: brings the levels to E channels.
        positions: adds positions to the levels.
        encoder: from proposals to queries.
        decoder: refines the queries.
    """

    def __init__(
        self,
        neck: ChannelMapper,
        positions: PositionedLevels,
        encoder: KeypointEncoder,
        decoder: Decoder,
    ) -> None:
        super().__init__()
        self.neck = neck
        self.positions = positions
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, maps: Sequence[Tensor], proposals: Tensor, regions: Regions) -> list[Prediction]:
        """Refines layer by layer.

        Args:
            maps: (N, C, H_l, W_l) for each level, finest first.
            proposals: (P, K, 2), shares of the regions.
            regions: the boxes of the proposals.

        Returns:
            For each layer (P, K, 2), shares of the regions.
        """
        memory = self.positions(self.neck([full_precision(level) for level in maps]))
        references = (regions.pixels(proposals) / regions.image()).split(regions.counts)
        images = [
            self._one_image(points, Memory(memory.values[[index]], memory.shapes))
            for index, points in enumerate(references)
        ]
        layers = []
        for layer in zip(*images, strict=True):
            points = torch.cat([one.points for one in layer]) * regions.image()
            layers.append(Prediction(regions.shares(points), torch.cat([one.scales for one in layer])))
        return layers

    def _one_image(self, references: Tensor, memory: Memory) -> list[Prediction]:
        """References (persons, K, 2) of one image -> for each layer the prediction (persons, K, 2)."""
        queries = self.encoder(references[None])
        return [prediction[0] for prediction in self.decoder(queries, memory)]


class RegionNetwork(nn.Module):
    """Poseur on regions: coarse poses and their refinement.

    Args:
        head: predicts coarse poses.
        decoder: refines them.
    """

    def __init__(self, head: RegionHead, decoder: RegionDecoder) -> None:
        super().__init__()
        self.head = head
        self.decoder = decoder

    def forward(self, features: Tensor, maps: Sequence[Tensor], regions: Regions) -> dict[str, Prediction]:
        """Features of regions (P, C, h, w) and the images' maps -> "coarse", "decoder0", "decoder1", ..."""
        coarse = self.head(features)
        with torch.autocast(features.device.type, enabled=False):
            refined = self.decoder(maps, coarse.points.detach(), regions)
        return {COARSE: coarse} | decoder_stages(refined)


class RegionRegression(nn.Module):
    """RLE on regions, the baseline of Table 3: coarse poses without refinement.

    Args:
        head: predicts coarse poses.
    """

    def __init__(self, head: RegionHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, maps: Sequence[Tensor], regions: Regions) -> dict[str, Prediction]:
        """Features of regions (P, C, h, w) -> "coarse"; the maps are not used."""
        return {COARSE: self.head(features)}
