"""Plans of predictions: names that differ, and no file that is overwritten by mistake."""

import json
from pathlib import Path

import pytest

from posecore.config.merge import UsageError
from posecore.inference.plan import plan_prediction


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with images and films of equal names."""
    for name in ("a/1.jpg", "b/1.jpg", "a/inner/1.jpg", "film.mp4", "film.avi", "x.jp2", "x.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*sources: str, folder: str = "out") -> dict[str, str]:
    """The drawing of each source by its name."""
    plan = plan_prediction(sources, Path(folder))
    assert [source.name for source in plan.sources] == list(plan.drawings)
    return dict(plan.drawings)


def test_names_are_short_where_they_can_be(files: Path) -> None:
    assert names("a/1.jpg", "film.avi", "x.jp2") == {
        "1.jpg": "1.jpg",
        "film.avi": "film.mp4",
        "x.jp2": "x.jp2.png",
    }
    assert names("a") == {"1.jpg": "1.jpg", "inner/1.jpg": "inner/1.jpg"}


def test_names_of_several_sources_differ(files: Path) -> None:
    assert list(names("a/1.jpg", "b/1.jpg")) == ["a/1.jpg", "b/1.jpg"]
    assert list(names("b", "a")) == ["b/1.jpg", "a/1.jpg", "inner/1.jpg"]
    assert names("film.mp4", "film.avi") == {"film.mp4": "film.mp4.mp4", "film.avi": "film.avi.mp4"}
    assert names("rtsp://me:secret@host/live?key=1", "0", "rtsp://host/live") == {
        "host_live": "host_live.mp4",
        "camera0": "camera0.mp4",
        "host_live_2": "host_live_2.mp4",
    }


def test_a_source_given_twice_is_read_once(files: Path) -> None:
    assert list(names("a/1.jpg", "./a/../a/1.jpg", "a")) == ["1.jpg", "inner/1.jpg"]


@pytest.mark.parametrize(
    ("source", "folder"), [("film.mp4", "."), ("a/1.jpg", "a"), ("a", "a"), ("a/inner/1.jpg", "a/inner")]
)
def test_an_input_is_never_overwritten(files: Path, source: str, folder: str) -> None:
    with pytest.raises(UsageError, match=r"--output .*choose (a folder without inputs|another folder)"):
        names(source, folder=folder)


def test_links_to_an_input_count_as_it(files: Path) -> None:
    (files / "out").mkdir()
    (files / "out" / "1.jpg").hardlink_to(files / "a" / "1.jpg")
    with pytest.raises(UsageError, match="would overwrite an input"):
        names("a/1.jpg")


def test_other_files_beside_inputs_are_kept_and_earlier_drawings_are_not(files: Path) -> None:
    with pytest.raises(UsageError, match=r"film\.mp4 exists beside the inputs and is no drawing"):
        names("film.avi", folder=".")
    (files / "poses.json").write_text(json.dumps([{"name": "film.avi", "number": 0, "people": []}]))
    assert names("film.avi", folder=".") == {"film.avi": "film.mp4"}


def test_drawings_in_an_input_folder_are_no_inputs(files: Path) -> None:
    (files / "a" / "out").mkdir()
    (files / "a" / "out" / "1.jpg").touch()
    with pytest.raises(UsageError, match="is no drawing"):
        names("a", folder="a/out")
    (files / "a" / "out" / "poses.json").write_text('[{"name": "1.jpg", "number": null, "people": []}]')
    assert list(names("a", folder="a/out")) == ["1.jpg", "inner/1.jpg"]


def test_files_that_are_read_beside_the_images(files: Path) -> None:
    (files / "out").mkdir()
    (files / "out" / "poses.json").write_text("[]")
    with pytest.raises(UsageError, match=r"poses\.json is read .* and would be overwritten"):
        plan_prediction(["a"], Path("out"), inputs=[files / "out" / "poses.json"])


def test_the_output_must_be_a_folder(files: Path) -> None:
    with pytest.raises(UsageError, match=r"--output x\.png is a file"):
        names("a", folder="x.png")
