from pathlib import Path

import cv2
import numpy as np
import pytest

from posecore.inference.video import read_images


def write(path: Path, value: int, size: tuple[int, int] = (12, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((*size, 3), dtype=np.uint8)
    image[:, :, 0] = value  # blue, as OpenCV has it
    cv2.imwrite(str(path), image)


def test_a_folder_gives_its_images_by_name_and_rgb(tmp_path: Path) -> None:
    write(tmp_path / "b.png", 200)
    write(tmp_path / "inner" / "a.png", 100)
    (tmp_path / "notes.txt").write_text("no image")
    images = list(read_images(tmp_path))
    assert [image.name for image in images] == ["b.png", "inner/a.png"]
    assert images[0].image[0, 0].tolist() == [0, 0, 200]
    assert images[0].number is None


def test_a_video_gives_numbered_images(shared: Path) -> None:
    images = list(read_images(shared / "data" / "video" / "street.mp4"))
    assert [image.number for image in images] == list(range(5))
    assert len({image.image.shape for image in images}) == 1
    assert images[0].rate > 0


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("missing.jpg", None, FileNotFoundError, "missing.jpg"),
        ("broken.jpg", b"\xff\xd8\xff\xe0 cut off", ValueError, "broken.jpg"),
        ("empty.png", b"", ValueError, "empty.png"),
        ("text.csv", b"1,2", ValueError, "text.csv"),
        ("broken.mp4", b"no film", FileNotFoundError, "broken.mp4"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(read_images(tmp_path / name))


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        list(read_images(tmp_path))
