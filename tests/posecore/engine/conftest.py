"""The dataset that trainings of the toy model learn."""

from pathlib import Path

import pytest

from posecore.data.synthetic import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A definition of eight small images."""
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=8, size=(48, 64), name="toy")
