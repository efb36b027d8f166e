"""What every page has: text and data that no name can break out of, and files that are written as a whole."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError

from posecore.data.image_writer import write_image
from posecore.reports.page import embedded_json, number, plain, share, signed, write_json, write_page
from posecore.reports.thumbnails import Thumbnails, encode

NASTY = "</script><script>alert(1)</script><!-- & \" ' \u2028"


def test_data_survives_and_closes_no_element() -> None:
    text = str(embedded_json({"name": NASTY, "numbers": np.array([1.0, np.nan]), "count": np.int64(3)}))
    assert not re.search(r"[<>&]", text)
    assert json.loads(text) == {"name": NASTY, "numbers": [1.0, None], "count": 3}


def test_plain_values_of_all_kinds() -> None:
    nested = {1: (np.float32(0.5), float("inf")), "a": None, "b": True}
    assert plain(nested) == {"1": [0.5, None], "a": None, "b": True}


def test_numbers() -> None:
    assert (number(1.25), number(float("nan"))) == ("1.2", "\u2013")
    assert (signed(2.04), signed(-2.04), signed(0.04), signed(-0.04)) == ("+2.0", "\u22122.0", "0.0", "0.0")
    assert (share(-1.0), share(50.0), share(120.0), share(float("nan"))) == (
        "0.00%",
        "50.00%",
        "100.00%",
        "0%",
    )


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")
    with pytest.raises(FileNotFoundError):
        write_json(tmp_path / "gone" / "x.json", {})
    with pytest.raises(UndefinedError):
        write_page(file, "results.html", {}, {})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_cut_outs(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", image)
    (tmp_path / "broken.png").write_bytes(b"no image")
    thumbnails = Thumbnails(side=40)
    whole = thumbnails.cut(tmp_path / "a.png")
    assert whole is not None
    assert (whole.x, whole.y, whole.width, whole.height) == (0, 0, 90, 60)
    corner = thumbnails.cut(tmp_path / "a.png", [80, 50, 40, 40])
    assert corner is not None
    assert (corner.x + corner.width, corner.y + corner.height) == (90, 60)
    assert thumbnails.cut(tmp_path / "a.png", [500, 500, 10, 10]) is None
    assert thumbnails.cut(tmp_path / "broken.png") is None
    assert thumbnails.cut(tmp_path / "gone.png", [0, 0, 5, 5]) is None
    assert sorted(Path(path).name for path in thumbnails.problems) == ["broken.png", "gone.png"]


def test_an_image_of_one_pixel() -> None:
    assert encode(np.zeros((1, 1, 3), np.uint8), side=1).startswith("data:image/webp;base64,")
    assert encode(np.zeros((1, 900, 3), np.uint8), side=9).startswith("data:image/webp;base64,")
