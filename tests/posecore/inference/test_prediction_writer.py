"""Drawings, films and records of predictions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from helpers.skeletons import DOG

from posecore.config.merge import UsageError
from posecore.inference.prediction_writer import PredictionWriter
from posecore.inference.records import pose_record
from posecore.inference.video import SourceImage, read_images

RED = np.full((32, 48, 3), (255, 0, 0), np.uint8)


def poses(count: int) -> Instances:
    keypoints = torch.arange(count * DOG.num_keypoints * 3.0).view(count, DOG.num_keypoints, 3)
    return Instances(
        (32, 48),
        pred_boxes=Boxes(torch.tensor([[1.0, 2, 3, 4]]).repeat(count, 1)),
        scores=torch.full((count,), 0.5),
        pred_keypoints=keypoints,
    )


def write_and_break(folder: Path) -> None:
    """A prediction that fails behind its first image, a.png."""
    with PredictionWriter(folder, DOG) as writer:
        writer.write(SourceImage(RED, "a.png"), poses(1), RED)
        raise ValueError("broken")


def test_a_record_names_the_keypoints() -> None:
    record = pose_record(SourceImage(RED, "a.mp4", 3), poses(2), DOG)
    assert (record["name"], record["number"]) == ("a.mp4", 3)
    _, second = record["people"]
    assert (second["score"], second["box"]) == (0.5, [1, 2, 3, 4])
    assert list(second["keypoints"]) == list(DOG.keypoints)
    assert second["keypoints"][DOG.keypoints[1]] == poses(2).pred_keypoints[1, 1].tolist()


def test_images_are_written_under_their_names(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path / "out", DOG) as writer:
        writer.write(SourceImage(RED, "inner/a.png"), poses(1), RED)
    assert cv2.imread(str(tmp_path / "out" / "inner" / "a.png"))[0, 0].tolist() == [0, 0, 255]
    (record,) = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert record["name"] == "inner/a.png"
    assert writer.num_images == writer.num_people == 1


def test_every_video_becomes_a_film(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, DOG) as writer:
        for name, length in (("a.avi", 3), ("b.mkv", 2)):
            for number in range(length):
                writer.write(SourceImage(RED, name, number, rate=10.0), poses(0), RED)
    films = {name: list(read_images(tmp_path / name)) for name in ("a.mp4", "b.mp4")}
    assert [len(frames) for frames in films.values()] == [3, 2]
    assert films["a.mp4"][0].rate == pytest.approx(10)
    assert films["a.mp4"][0].image[16, 24, 0] > 200
    assert len(json.loads((tmp_path / "poses.json").read_text())) == 5


def test_an_error_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"):
        write_and_break(tmp_path)
    assert len(json.loads((tmp_path / "poses.json").read_text())) == 1


def test_an_earlier_file_is_replaced_by_a_whole_one_only(tmp_path: Path) -> None:
    earlier = '[{"name": "z.png", "number": null, "people": []}]'
    (tmp_path / "poses.json").write_text(earlier)

    with pytest.raises(ValueError, match="broken"):
        write_and_break(tmp_path)
    assert (tmp_path / "poses.json").read_text() == earlier
    assert json.loads((tmp_path / "poses.partial.json").read_text())[0]["name"] == "a.png"
    with PredictionWriter(tmp_path, DOG) as writer:
        writer.failed = True
    assert (tmp_path / "poses.json").read_text() == earlier
    with PredictionWriter(tmp_path, DOG) as writer:
        writer.write(SourceImage(RED, "b.png"), poses(0), RED)
    assert json.loads((tmp_path / "poses.json").read_text())[0]["name"] == "b.png"
    assert not list(tmp_path.glob("*.part"))


def test_images_of_other_sizes_stay_in_the_film(tmp_path: Path) -> None:
    with PredictionWriter(tmp_path, DOG) as writer:
        for number, image in enumerate((RED, RED[:16], RED)):
            writer.write(SourceImage(image, "a.mp4", number), poses(0), image)
    assert len(list(read_images(tmp_path / "a.mp4"))) == 3


def test_a_drawing_that_cannot_be_written_costs_no_record(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    (tmp_path / "b.mp4").mkdir()
    with PredictionWriter(tmp_path, DOG) as writer:
        with pytest.raises(ValueError, match=r"image .*a\.png cannot be written"):
            writer.write(SourceImage(RED, "a.png"), poses(1), RED)
        with pytest.raises(ValueError, match=r"film .*b\.mp4 cannot be written"):
            writer.write(SourceImage(RED, "b.mp4", 0), poses(1), RED)
        writer.write(SourceImage(RED, "b.mp4", 1), poses(1), RED)
    assert len(json.loads((tmp_path / "poses.json").read_text())) == 3


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"the folder .*out cannot be written to"):
        PredictionWriter(tmp_path / "file" / "out", DOG)
