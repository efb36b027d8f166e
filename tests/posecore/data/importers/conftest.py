"""The samples of other tools' files, and a small dataset of Ultralytics' format, which tests change."""

from pathlib import Path

import pytest
from helpers.files import shared_folder
from helpers.label_sources import write_image


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """A dataset of Ultralytics' format with two persons of three keypoints, in train alone."""
    folder = tmp_path / "yolo"
    for name in ("a", "b"):
        write_image(folder / "images" / "train" / f"{name}.png")
        label = folder / "labels" / "train" / f"{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.5 0.5 0.3 0.3 2 0.6 0.6 1 0 0 0\n")
    (folder / "data.yaml").write_text(
        "train: images/train\nval: images/train\nkpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\nnames: {0: dog}\n"
        "kpt_names: {0: [nose, left_ear, right_ear]}\n"
    )
    return folder


@pytest.fixture(scope="session")
def formats(shared: Path) -> Path:
    """Samples of other tools' files."""
    return shared_folder(shared, "formats")
