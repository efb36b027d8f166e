"""Films: their timing, and videos that are turned or whose rate varies."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecore.inference.film import Film, OpenCVFilm, PyAVFilm, open_film
from posecore.inference.video import read_images

# Seconds; the rate varies.
TIMES = [0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.24, 2.0]


@pytest.fixture(params=[OpenCVFilm, PyAVFilm])
def kind(request: pytest.FixtureRequest) -> type[Film]:
    if request.param is PyAVFilm:
        pytest.importorskip("av", reason="films of a rate that varies need PyAV, the extra video")
    return request.param


def gray(value: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def write(film: Film, times: list[float]) -> None:
    for number, time in enumerate(times):
        film.write(gray(20 * number), time)
    film.close()


def test_a_film_of_a_constant_rate(kind: type[Film], tmp_path: Path) -> None:
    write(kind(tmp_path / "a.mp4", (64, 48), 10.0), [number / 10 for number in range(8)])
    frames = list(read_images(tmp_path / "a.mp4"))
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(8)], abs=1e-3)
    assert frames[0].rate == pytest.approx(10)
    assert [frame.image.mean() for frame in frames] == pytest.approx([20 * i for i in range(8)], abs=10)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "mov"])
def test_a_rate_that_varies(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("av", reason="films of a rate that varies need PyAV, the extra video")
    file = tmp_path / f"a.{ending}"
    write(PyAVFilm(file, (64, 48), 25.0), TIMES)
    # No error that the video is cut, though some containers estimate their number of images.
    frames = list(read_images(file))
    assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=2e-3)
    assert [frame.number for frame in frames] == list(range(len(TIMES)))


def test_opencv_says_that_the_timing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write(OpenCVFilm(tmp_path / "a.mp4", (64, 48), 4.0), TIMES)
    (record,) = caplog.records
    assert "not the timing of its video" in record.getMessage()
    assert "requirements/video.txt" in record.getMessage()
    assert len(list(read_images(tmp_path / "a.mp4"))) == len(TIMES)


def test_without_pyav_opencv_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    film = open_film(tmp_path / "a.mp4", (64, 48), None)
    assert isinstance(film, OpenCVFilm)
    write(film, [0])


def test_a_film_that_cannot_be_written(kind: type[Film], tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(ValueError, match=r"the film .*a\.mp4 cannot be written"):
        kind(tmp_path / "a.mp4", (64, 48), 25.0)


def turned(film: Path, degrees: int) -> Path:
    """A copy of an .mp4 whose track header says that its images must be turned clockwise to be upright."""
    one, zero, minus, last = (
        value.to_bytes(4, "big") for value in (1 << 16, 0, (1 << 32) - (1 << 16), 1 << 30)
    )
    matrices = {
        0: (one, zero, zero, zero, one, zero, zero, zero, last),
        90: (zero, one, zero, minus, zero, zero, zero, zero, last),
        180: (minus, zero, zero, zero, minus, zero, zero, zero, last),
        270: (zero, minus, zero, one, zero, zero, zero, zero, last),
    }
    content = film.read_bytes()
    place = content.index(b"".join(matrices[0]), content.index(b"tkhd"))
    copy = film.with_name(f"{degrees}.mp4")
    copy.write_bytes(content[:place] + b"".join(matrices[degrees]) + content[place + 36 :])
    return copy


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 3), (180, 2), (270, 1)])
def test_a_turned_video_is_read_upright(tmp_path: Path, degrees: int, turns: int) -> None:
    image = gray(0)
    image[:24, :32] = 255
    film = OpenCVFilm(tmp_path / "a.mp4", (64, 48), 25.0)
    film.write(image, 0)
    film.close()
    (frame,) = read_images(turned(tmp_path / "a.mp4", degrees))
    expected = np.rot90(image, turns)
    assert frame.image.shape == expected.shape
    assert np.abs(frame.image.astype(int) - expected).mean() < 12


def test_images_without_time_stamps_follow_the_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = OpenCVFilm(tmp_path / "a.mp4", (64, 48), 10.0)
    write(film, [0, 0.1, 0.2])

    capture = cv2.VideoCapture

    class WithoutStamps:
        def __init__(self, address: str) -> None:
            self.capture = capture(address)

        def get(self, key: int) -> float:
            return 0.0 if key == cv2.CAP_PROP_POS_MSEC else self.capture.get(key)

        def __getattr__(self, name: str):
            return getattr(self.capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", WithoutStamps)
    assert [frame.time for frame in read_images(tmp_path / "a.mp4")] == pytest.approx([0, 0.1, 0.2])
