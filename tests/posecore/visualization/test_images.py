"""Images of samples become images to draw on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from posecore.data.image_writer import write_image
from posecore.visualization.images import as_rgb, write_figure


def test_channels_come_in_the_order_of_rgb() -> None:
    image = torch.tensor([1, 2, 3], dtype=torch.uint8)[:, None, None].expand(3, 4, 5)
    assert as_rgb(image, "RGB").shape == (4, 5, 3)
    assert as_rgb(image, "RGB")[0, 0].tolist() == [1, 2, 3]
    assert as_rgb(image, "BGR")[0, 0].tolist() == [3, 2, 1]


def test_a_written_image_is_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "red.png", np.full((4, 5, 3), (255, 0, 0), np.uint8))
    assert cv2.imread(str(tmp_path / "red.png"))[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(FileNotFoundError, match="does its folder exist"):
        write_image(tmp_path / "gone" / "red.png", np.zeros((4, 5, 3), np.uint8))


@pytest.mark.parametrize("name", ["red", "red.txt", "red.mp4"])
def test_an_ending_without_a_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"image .*{name} cannot be written: .*ending"):
        write_image(tmp_path / name, np.zeros((4, 5, 3), np.uint8))


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "red.png").mkdir()
    (tmp_path / "file").touch()
    figure = Figure()
    for file in (tmp_path / "red.png", tmp_path / "file" / "red.png"):
        with pytest.raises(ValueError, match=rf"image {file} cannot be written: "):
            write_image(file, np.zeros((4, 5, 3), np.uint8))
        with pytest.raises(ValueError, match=rf"image {file} cannot be written: "):
            write_figure(file, figure)
    with pytest.raises(FileNotFoundError, match="does its folder exist"):
        write_figure(tmp_path / "gone" / "red.png", figure)
    with pytest.raises(ValueError, match=r"image .*red\.xyz cannot be written"):
        write_figure(tmp_path / "red.xyz", figure)
