"""Detectron2's data mapper as a peer: its crops take the place of ours."""

import pytest
from detectron2.data import transforms as T
from helpers.support import core_cfg

from posecore.benchmarks.data import detectron2_mapper


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [("relative_range", [0.5, 0.6], (0.5, 0.6)), ("absolute", [40, 50], (40, 50))],
)
def test_the_crop_of_the_peer_has_the_same_size(kind, size, expected):
    cfg = core_cfg("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", kind, "INPUT.CROP.SIZE", size)
    (crop,) = [step for step in detectron2_mapper(cfg).augmentations.augs if isinstance(step, T.RandomCrop)]
    assert (crop.crop_type, tuple(crop.crop_size)) == (kind, expected)


@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_crops_around_persons_have_no_peer(probability):
    cfg = core_cfg("INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "person", "INPUT.CROP.SIZE", [1.2, 2.0])
    cfg.INPUT.CROP.PROB = probability
    with pytest.raises(ValueError, match=r'INPUT\.CROP\.TYPE "person"; use another type'):
        detectron2_mapper(cfg)
