import os
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from posecore.inference.video import Source, list_sources, read_images


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


def test_a_folder_whose_name_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "2024" / "a.png", 100)
    assert [image.name for image in read_images("2024")] == ["a.png"]
    assert list_sources("7") == [Source("7", "live", "camera7")]


class FakeCapture:
    """A stream of two images."""

    opened: ClassVar[list[object]] = []

    def __init__(self, address: object) -> None:
        self.opened.append(address)
        self.results = iter([True, True])

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def get(self, key: int) -> float:
        return 25.0 if key == cv2.CAP_PROP_FPS else -1.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, np.zeros((4, 6, 3), np.uint8)) if next(self.results, False) else (False, None)

    def release(self) -> None:
        pass


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https", "RTSP"])
def test_streams_are_sources(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    address = f"{scheme}://me:secret@camera.local:554/live/1?token=2"
    first, second = read_images(address)
    assert FakeCapture.opened[-1] == address
    assert (first.name, first.number, first.rate) == ("camera_local_554_live_1", 0, 25.0)
    assert (second.number, second.image.shape) == (1, (4, 6, 3))


def test_a_closed_stream_is_named_without_its_login() -> None:
    with pytest.raises(FileNotFoundError, match=r"^stream rtsp://127\.0\.0\.1:1/live cannot be opened$"):
        list(read_images("rtsp://me:secret@127.0.0.1:1/live?token=2"))


def test_a_damaged_film_gives_its_other_images_and_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    film = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(50):
        film.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    film.release()
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 6 // 10])
    assert len(list(read_images(tmp_path / "a.avi"))) == 50
    images = []
    with pytest.raises(
        ValueError, match=r"video .*cut\.avi ends after \d+ of 50 images; it is cut or broken"
    ):
        images.extend(read_images(tmp_path / "cut.avi"))
    assert 20 < len(images) < 50


def test_a_lost_image_is_named_and_the_rest_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy(FakeCapture):
        def __init__(self, address: object) -> None:
            super().__init__(address)
            self.results = iter([True, False, True])

        def get(self, key: int) -> float:
            return 3.0

    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr(cv2, "VideoCapture", Lossy)
    frames = Source(str(tmp_path / "a.mp4"), "video", "a.mp4").read()
    assert [next(frames).number, next(frames).number] == [0, 2]
    with pytest.raises(ValueError, match="1 of 3 images cannot be decoded, number 1"):
        next(frames)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4 is no regular file"):
        list(read_images(tmp_path / "a.mp4"))
