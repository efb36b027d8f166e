from pathlib import Path

import pytest

from posecore.data import dataset_metadata, resolve_dataset
from posecore.data.synthetic import make_dataset


def test_a_dataset_is_named_or_defined(tmp_path: Path) -> None:
    assert resolve_dataset("keypoints_coco_2017_val") == "keypoints_coco_2017_val"
    name = resolve_dataset(str(make_dataset(tmp_path, num_images=1, size=(48, 48))))
    assert name == "synthetic_train"
    assert dataset_metadata(name).skeleton.num_keypoints > 0
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml does not exist"):
        resolve_dataset("gone.yaml")
