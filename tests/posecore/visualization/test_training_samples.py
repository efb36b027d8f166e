"""Drawings of training samples."""

from pathlib import Path

import numpy as np
import pytest

from posecore.config import get_cfg
from posecore.data.synthetic import make_dataset
from posecore.visualization.training_samples import draw_training_samples


@pytest.mark.parametrize(
    "overrides",
    [["INPUT.MIN_SIZE_TRAIN", (48,)], ["INPUT.SAMPLES", "person_crops", "INPUT.CROPS.SIZE", (40, 30)]],
    ids=["images", "crops"],
)
def test_samples_fill_a_grid(tmp_path: Path, overrides: list) -> None:
    definition = make_dataset(tmp_path, num_images=2, size=(48, 64))
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.DEFINITIONS", [str(definition)], "DATASETS.TRAIN", ("synthetic_train",)])
    cfg.merge_from_list(overrides)
    cfg.freeze()
    before = cfg.dump()
    first, again, other = (
        draw_training_samples(cfg, count=5, columns=2, width=100, seed=seed) for seed in (0, 0, 1)
    )
    assert first.shape[1] == 2 * 106 + 6
    assert first.dtype == np.uint8
    assert first.std() > 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert cfg.dump() == before
