"""The branch :class:`SharedBranch`, which computes what all persons of an image share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcpose.basis import Basis, SharedMaps
from fcpose.refinement import GeneratedOffsetReader, SharedOffsetReader
from posecore.layers.precision import full_precision


class SharedBranch(nn.Module):
    """Computes the map F and the shared offsets (arXiv 2105.14185, sections 3.1 and 3.2).

    Args:
        in_features: names of the levels that it reads, finest first.
        basis: computes the tower of F from these levels.
        bases: computes F from that tower.
        offsets: computes (N, K, 2, H, W) shared offsets in pixels from the finest level and that tower.
        offset_reader: reads the offsets of Q persons at (Q, K, n) cells, as (Q, K, n, 2).
    """

    def __init__(
        self,
        in_features: Sequence[str],
        *,
        basis: Basis,
        bases: nn.Module,
        offsets: nn.Module,
        offset_reader: SharedOffsetReader | GeneratedOffsetReader,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.basis = basis
        self.bases = bases
        self.offsets = offsets
        self.offset_reader = offset_reader

    def forward(self, features: dict[str, Tensor]) -> SharedMaps:
        """The named levels of the pyramid -> F and the shared offsets, always in full precision."""
        levels = [features[name] for name in self.in_features]
        merged = self.basis.merge(levels)
        tower = self.basis.tower(merged)
        with torch.autocast(tower.device.type, enabled=False):
            finest, tower = full_precision(levels[0]), full_precision(tower)
            return SharedMaps(merged, self.bases(tower), self.offsets(finest, tower))
