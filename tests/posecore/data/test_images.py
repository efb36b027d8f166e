"""The reader of image files: what pixels mean, and that every file it refuses is named."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from posecore.config import get_cfg
from posecore.data.images import IMAGE_ENDINGS, MAX_PIXELS, image_size, pixel_limit, read_image

RNG = np.random.default_rng(0)
COLOR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)


def save(file: Path, image: np.ndarray | Image.Image, **options: object) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, **options)
    return file


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".ppm"])
def test_colors_are_as_they_were_written(tmp_path: Path, ending: str) -> None:
    image = read_image(save(tmp_path / f"a{ending}", COLOR))
    assert np.array_equal(image, COLOR)
    assert image.dtype == np.uint8
    assert image.flags.writeable


@pytest.mark.parametrize("ending", [".png", ".tif", ".pgm", ".jp2"])
def test_sixteen_bits_become_eight_by_the_upper_ones(tmp_path: Path, ending: str) -> None:
    if ending == ".jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    file = tmp_path / f"a{ending}"
    if ending == ".pgm":
        cv2.imwrite(str(file), GRAY16)
    else:
        save(file, GRAY16)
    assert np.array_equal(read_image(file), np.repeat(GRAY16[..., None] >> 8, 3, axis=2))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_of_color(tmp_path: Path, ending: str) -> None:
    image = np.dstack([GRAY16, GRAY16 // 2, GRAY16 // 3])
    cv2.imwrite(str(tmp_path / f"a{ending}"), image[..., ::-1])
    assert np.array_equal(read_image(tmp_path / f"a{ending}"), image >> 8)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_becomes_upright(tmp_path: Path, ending: str, orientation: int) -> None:
    # White at the left of the upper row where the upright image is white.
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(tmp_path / f"a{ending}", np.ascontiguousarray(turned[orientation]), exif=exif)
    image = read_image(file)
    assert image.shape == (16, 32, 3)
    assert image_size(file) == (32, 16)
    assert abs(image.astype(int) - upright).mean() < 3


def test_gray_palette_cmyk_opacity_and_one_bit(tmp_path: Path) -> None:
    color = Image.fromarray(COLOR)
    gray = np.repeat(np.asarray(color.convert("L"))[..., None], 3, axis=2)
    assert np.array_equal(read_image(save(tmp_path / "l.png", color.convert("L"))), gray)
    assert np.array_equal(read_image(save(tmp_path / "la.png", color.convert("LA"))), gray)
    assert np.array_equal(read_image(save(tmp_path / "cmyk.tif", color.convert("CMYK"))), COLOR)
    clear = color.convert("RGBA")
    clear.putalpha(0)
    assert np.array_equal(read_image(save(tmp_path / "rgba.png", clear)), COLOR), "opacity is dropped"
    palette = color.convert("P")
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(read_image(save(tmp_path / "p.png", palette)), expected)
    opacities = bytes(range(256))
    assert np.array_equal(read_image(save(tmp_path / "t.png", palette, transparency=opacities)), expected)
    black_or_white = np.asarray(color.convert("1").convert("RGB"))
    assert np.array_equal(read_image(save(tmp_path / "1.png", color.convert("1"))), black_or_white)


def test_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "lime")]
    file = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(file)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_white_are_refused(tmp_path: Path, mode: str) -> None:
    file = save(tmp_path / "depth.tif", Image.fromarray(COLOR).convert("L").convert(mode))
    with pytest.raises(
        ValueError, match=r"image .*depth\.tif cannot be read: its pixels are .*convert it to 8"
    ):
        read_image(file)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".tif", ".webp", ".gif", ".jp2", ".ppm"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_files_are_named(tmp_path: Path, ending: str, share: float) -> None:
    if ending == ".jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    file = save(tmp_path / f"cut{ending}", COLOR)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(ValueError, match=rf"image .*cut\{ending} cannot be read: "):
        read_image(file)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for reader in (read_image, image_size):
        with pytest.raises(
            ValueError, match=r"pipe\.jpg cannot be read: it is no regular file but a named pipe"
        ):
            reader(tmp_path / "pipe.jpg")
        with pytest.raises(ValueError, match=r"/dev/zero cannot be read: it is no regular file but a device"):
            reader("/dev/zero")
        with pytest.raises(ValueError, match="it is no regular file but a folder"):
            reader(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"image .*gone\.jpg does not exist"):
            reader(tmp_path / "gone.jpg")
        with pytest.raises(ValueError, match="cannot be read"):
            reader("a\0b.jpg")


def test_other_contents_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match=r"empty\.jpg cannot be read: it is empty"):
        read_image(tmp_path / "empty.jpg")
    Image.fromarray(COLOR).save(tmp_path / "program.jpg", format="EPS")
    with pytest.raises(ValueError, match=r"program\.jpg cannot be read: its content is none of"):
        read_image(tmp_path / "program.jpg")


def test_the_limit_of_pixels(tmp_path: Path) -> None:
    file = save(tmp_path / "large.png", COLOR)
    with pytest.raises(
        ValueError, match=r"large\.png cannot be read: it is 30 x 20; .* INPUT\.MAX_PIXELS = 599"
    ):
        read_image(file, 599)
    assert read_image(file, 600).shape == (20, 30, 3)
    cfg = get_cfg()
    assert pixel_limit(cfg) == MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    cfg.INPUT.MAX_PIXELS = -1
    with pytest.raises(ValueError, match=r"INPUT\.MAX_PIXELS must be .* 0 for no limit, not -1"):
        pixel_limit(cfg)


def test_endings_are_those_of_formats_that_are_read() -> None:
    assert {".jpg", ".png", ".tif", ".gif"} <= IMAGE_ENDINGS
    assert (".jp2" in IMAGE_ENDINGS) == bool(features.check("jpg_2000"))


@pytest.mark.parametrize(
    ("name", "shape", "mean"),
    [
        ("pic_gray16/images/p.png", (96, 96, 3), 128.7),
        ("pic_gray16_12bit/images/p.png", (96, 96, 3), 7.6),
        ("pic_exif6_tif/images/p.tif", (64, 96, 3), 126.4),
        ("pic_jp2/images/p.jp2", (96, 96, 3), 126.4),
        ("pic_thin/images/p.png", (1, 3000, 3), 255),
        ("mpii_exif/images/p.jpg", (64, 96, 3), 126.4),
    ],
)
def test_files_that_other_readers_get_wrong(
    shared: Path, name: str, shape: tuple[int, ...], mean: float
) -> None:
    image = read_image(faults(shared) / name)
    assert image.shape == shape
    assert image.mean() == pytest.approx(mean, abs=0.1)
    assert image_size(faults(shared) / name) == (shape[1], shape[0])


def test_files_that_are_refused(shared: Path) -> None:
    with pytest.raises(ValueError, match=r"p\.tif cannot be read: its pixels are floating-point numbers"):
        read_image(faults(shared) / "pic_float_tif" / "images" / "p.tif")
    with pytest.raises(ValueError, match=r"p\.png cannot be read: .*INPUT\.MAX_PIXELS = 178956970 pixels"):
        read_image(faults(shared) / "pic_huge" / "images" / "p.png")


@pytest.mark.long
def test_the_limit_of_pixels_is_lifted_by_its_key(shared: Path) -> None:
    huge = faults(shared) / "pic_huge" / "images" / "p.png"
    limit = Image.MAX_IMAGE_PIXELS
    assert read_image(huge, 0).shape == (10000, 20000, 3)
    assert limit == Image.MAX_IMAGE_PIXELS


def faults(shared: Path) -> Path:
    folder = shared / "data" / "faults"
    if not folder.is_dir():
        pytest.skip(f"no faulty inputs in {folder}")
    return folder
