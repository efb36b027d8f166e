"""predict_sources with a stand-in for the model: batches, threads, interruptions, memory."""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from helpers.skeletons import DOG

from posecore.config.merge import UsageError
from posecore.inference.predict import PredictionSettings, PredictionSummary, predict_sources
from posecore.inference.smoothing import SmoothingSettings
from posecore.inference.tracking import TrackingSettings
from posecore.inference.video import SourceImage, read_images
from posecore.visualization.poses import draw_poses


class BrightPredictor:
    """Finds one pose at the brightest point of an image; notes the sizes of its batches.

    An image whose first pixel is 7 cannot be prepared, and one whose first pixel is 9 not be predicted.
    """

    max_pixels = 10**6
    skeleton = DOG
    needs_boxes = False

    def __init__(self) -> None:
        self.batches: list[int] = []

    def sample(self, image: np.ndarray, boxes: None = None) -> dict:
        if image[0, 0, 0] == 7:
            raise ValueError("it is too thin")
        return {"image": image}

    def of_samples(self, samples: list[dict]) -> list[Instances]:
        self.batches.append(len(samples))
        if any(sample["image"][0, 0, 0] == 9 for sample in samples):
            raise torch.OutOfMemoryError("no memory")
        return [self.pose(sample["image"]) for sample in samples]

    def pose(self, image: np.ndarray) -> Instances:
        y, x = np.unravel_index(cv2.GaussianBlur(image[..., 1], (5, 5), 0).argmax(), image.shape[:2])
        shape = torch.tensor([[0.0, -9], [5, 0], [-5, 0], [0, 9], [3, 4]])[: DOG.num_keypoints]
        points = torch.tensor([x + 0.5, y + 0.5]) + shape
        keypoints = torch.cat([points, torch.ones(len(points), 1)], dim=1)[None]
        box = torch.cat([points.amin(dim=0), points.amax(dim=0)])[None]
        return Instances(
            image.shape[:2], pred_keypoints=keypoints, pred_boxes=Boxes(box), scores=torch.tensor([0.9])
        )


def image_at(x: int, y: int, size: tuple[int, int] = (40, 60), mark: int = 0) -> np.ndarray:
    image = np.zeros((*size, 3), np.uint8)
    image[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3] = 250
    image[0, 0] = mark
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images of two sizes, one that is no image, and two that the model refuses."""
    source = tmp_path / "images"
    source.mkdir()
    sizes = [(40, 60)] * 3 + [(33, 21)] * 2 + [(40, 60)] * 3
    for index, size in enumerate(sizes):
        mark = {4: 7, 6: 9}.get(index, 0)
        image = image_at(10 + index, 12 + index, size, mark)
        cv2.imwrite(str(source / f"{index}.png"), image)
    (source / "2b.png").write_bytes(b"no image")
    return source


def run(source: object, out: Path, **settings: object) -> tuple[PredictionSummary, list[dict], list[int]]:
    predictor = BrightPredictor()
    summary = predict_sources(predictor, [str(source)], out, settings=PredictionSettings(**settings))
    return summary, json.loads((out / "poses.json").read_text()), predictor.batches


def test_a_batch_gives_what_its_images_give_one_by_one(folder: Path, tmp_path: Path) -> None:
    alone, records, sizes = run(folder, tmp_path / "alone", read_ahead=0)
    assert sizes == [1] * 7
    assert [record["name"] for record in records] == [f"{i}.png" for i in (0, 1, 2, 3, 5, 7)]
    assert (records[3]["height"], records[3]["width"]) == (33, 21)
    # A batch that cannot be predicted is predicted again, image by image.
    for batch_size, expected in ((2, [2, 1, 1, 2, 1, 1, 1]), (8, [3, 1, 3, 1, 1, 1])):
        batched, same, sizes = run(folder, tmp_path / str(batch_size), batch_size=batch_size)
        assert same == records
        assert sizes == expected
        assert sorted(batched.failures) == sorted(alone.failures)
        for name in (f"{i}.png" for i in (0, 3, 7)):
            assert (tmp_path / str(batch_size) / name).read_bytes() == (
                tmp_path / "alone" / name
            ).read_bytes()
    assert alone.num_images == alone.num_people == 6
    assert sum("2b.png" in failure for failure in alone.failures) == 1
    assert "image 4.png: it is too thin" in alone.failures
    assert "image 6.png: no memory" in alone.failures


class DoubtfulPredictor(BrightPredictor):
    """Finds the first keypoint with a confidence of 0.05, the others with 1."""

    def pose(self, image: np.ndarray) -> Instances:
        pose = super().pose(image)
        pose.pred_keypoints[:, 0, 2] = 0.05
        return pose


def test_keypoints_below_their_threshold_are_written_but_not_drawn(tmp_path: Path) -> None:
    image = image_at(30, 20)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    predictor, drawings = DoubtfulPredictor(), {}
    for threshold in (0.0, 0.05):
        out = tmp_path / f"out{threshold}"
        settings = PredictionSettings(keypoint_threshold=threshold)
        predict_sources(predictor, [str(tmp_path / "a.png")], out, settings=settings)
        drawings[threshold] = cv2.imread(str(out / "a.png"))[..., ::-1]
        (record,) = json.loads((out / "poses.json").read_text())
        confidences = [point[2] for point in record["people"][0]["keypoints"].values()]
        assert confidences == pytest.approx([0.05] + [1] * (len(confidences) - 1))
        expected = draw_poses(image, predictor.pose(image), DOG, threshold=threshold)
        np.testing.assert_array_equal(drawings[threshold], expected)
    assert (drawings[0.0] != drawings[0.05]).any()


def film(file: Path, length: int, size: tuple[int, int] = (40, 60)) -> Path:
    """A film of a bright point that goes to and fro."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 25, size[::-1])
    for number in range(length):
        writer.write(image_at(10 + abs(number % 60 - 30), 20, size))
    writer.release()
    return file


def test_a_tracked_video(tmp_path: Path) -> None:
    source = film(tmp_path / "a.avi", 30)
    settings = {"tracking": TrackingSettings(), "smoothing": SmoothingSettings(), "batch_size": 4}
    _, records, _ = run(source, tmp_path / "out", **settings)
    assert [record["number"] for record in records] == list(range(30))
    assert [record["time"] for record in records] == pytest.approx([number / 25 for number in range(30)])
    ids = [person["id"] for record in records for person in record["people"]]
    assert ids == [None, *[1] * 29]
    last = records[-1]["people"][0]
    assert list(last["smoothed"]) == list(last["keypoints"]) == list(DOG.keypoints)
    assert last["smoothed"] != last["keypoints"]
    assert records[0]["people"][0]["smoothed"] == records[0]["people"][0]["keypoints"]
    assert len(list(read_images(tmp_path / "out" / "a.mp4"))) == 30
    _, plain, _ = run(source, tmp_path / "plain")
    assert "id" not in plain[0]["people"][0]


def test_images_of_a_folder_are_followed_in_the_order_of_their_names(tmp_path: Path) -> None:
    # Ten steps of 2 pixels: in the order of text, image 10 would come behind image 1.
    for scene in "ab":
        (tmp_path / "frames" / scene).mkdir(parents=True)
        for number in range(1, 12):
            cv2.imwrite(str(tmp_path / "frames" / scene / f"{number}.png"), image_at(5 + 3 * number, 20))
    settings = {"tracking": TrackingSettings(), "smoothing": SmoothingSettings(), "image_rate": 10.0}
    _, records, _ = run(tmp_path / "frames", tmp_path / "out", batch_size=4, **settings)
    names = [f"{scene}/{number}.png" for scene in "ab" for number in range(1, 12)]
    assert [record["name"] for record in records] == names
    assert [record["time"] for record in records] == pytest.approx([number / 10 for number in range(11)] * 2)
    assert {record["number"] for record in records} == {None}
    ids = [record["people"][0]["id"] for record in records]
    assert ids == [None, *[1] * 10] * 2  # each folder is a sequence of its own
    assert (tmp_path / "out" / "b" / "11.png").is_file()
    _, plain, _ = run(tmp_path / "frames", tmp_path / "plain")
    assert plain[0]["time"] is None
    assert plain[1]["name"] == "a/10.png"


def test_what_tracking_cannot_do_is_said_before(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--track and --smooth need videos, .*0\.png is an image without"):
        run(folder / "0.png", tmp_path / "out", tracking=TrackingSettings())
    with pytest.raises(ValueError, match=r"\(--image-rate\) must be above 0 and finite, not 0"):
        PredictionSettings(image_rate=0)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="smoothing needs tracking"):
        PredictionSettings(smoothing=SmoothingSettings())


def test_each_video_has_ids_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        film(tmp_path / f"{name}.avi", 3)
    predict_sources(
        BrightPredictor(),
        [str(tmp_path / "a.avi"), str(tmp_path / "b.avi")],
        tmp_path / "out",
        settings=PredictionSettings(tracking=TrackingSettings(hits=1)),
    )
    records = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [person["id"] for record in records for person in record["people"]] == [1] * 6


@pytest.mark.long
def test_memory_does_not_grow_with_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 images; what is held after 500 is what is held after all."""
    image = image_at(20, 20, (16, 16))
    held: list[int] = []

    def read(self: object, max_pixels: int) -> object:
        for number in range(2000):
            if number in (500, 1990):
                held.append(tracemalloc.get_traced_memory()[0])
            yield SourceImage(image, "a.mp4", number, 25.0, number / 25)

    (tmp_path / "a.mp4").touch()
    monkeypatch.setattr("posecore.inference.video.Source.read", read)
    monkeypatch.setattr("posecore.inference.drawing_output._draw", lambda *arguments: None)
    tracemalloc.start()
    try:
        summary, records, _ = run(tmp_path / "a.mp4", tmp_path / "out", tracking=TrackingSettings())
    finally:
        tracemalloc.stop()
    assert summary.num_images == len(records) == 2000
    assert held[1] - held[0] < 100_000


def start(source: Path, out: Path) -> subprocess.Popen:
    """A prediction in a process of its own that takes 20 ms for an image."""
    code = (
        "import importlib.util, time, posecore\n"
        f"spec = importlib.util.spec_from_file_location('stand_in', {str(Path(__file__))!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "class Slow(module.BrightPredictor):\n"
        "    def of_samples(self, samples):\n"
        "        time.sleep(0.02)\n"
        "        return super().of_samples(samples)\n"
        f"module.predict_sources(Slow(), [{str(source)!r}], module.Path({str(out)!r}))\n"
    )
    paths = os.pathsep.join(sys.path)
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths})


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a prediction that was killed after some images, and its film."""
    folder = tmp_path_factory.mktemp("killed")
    film(folder / "long.avi", 600)
    process = start(folder / "long.avi", folder / "out")
    try:
        unfinished = folder / "out" / "poses.json.part"
        end = time.monotonic() + 120
        while not (unfinished.is_file() and unfinished.read_bytes().count(b"\n") > 20):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return folder


def test_what_was_found_survives_a_kill(killed: Path, tmp_path: Path) -> None:
    out = killed / "out"
    assert not (out / "poses.json").exists()
    film(tmp_path / "short.avi", 2)
    _, records, _ = run(tmp_path / "short.avi", out)
    assert len(records) == 2
    recovered = json.loads((out / "poses.partial.json").read_text())
    assert len(recovered) >= 20
    assert [record["number"] for record in recovered] == list(range(len(recovered)))
    assert not (out / "poses.json.part").exists()


def test_an_interruption_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the tenth image is predicted, with images read ahead and drawings waiting."""

    class Interrupted(BrightPredictor):
        def of_samples(self, samples: list[dict]) -> list[Instances]:
            if len(self.batches) == 9:
                raise KeyboardInterrupt
            return super().of_samples(samples)

    source = film(tmp_path / "a.avi", 40)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        predict_sources(Interrupted(), [str(source)], tmp_path / "out")
    assert time.monotonic() - begin < 20
    assert len(json.loads((tmp_path / "out" / "poses.json").read_text())) == 9


def test_q_in_the_window_stops(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter([-1, ord("q")])
    monkeypatch.setattr(cv2, "imshow", lambda name, image: None)
    monkeypatch.setattr(cv2, "waitKey", lambda delay: next(keys))
    summary, records, _ = run(folder, tmp_path / "out", show=True)
    assert [record["name"] for record in records] == ["0.png", "1.png"]
    assert summary.failures == ()


@pytest.mark.parametrize("values", [{"batch_size": 0}, {"read_ahead": -1}])
def test_settings_out_of_range(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be [01] or more, not"):
        PredictionSettings(**values)
