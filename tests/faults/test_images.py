"""Unusual image files: evaluation and prediction get the same pixels, or refuse the file by name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from helpers.configs import override_list
from PIL import Image
from torch import nn

from posecore.config import get_cfg
from posecore.data import build_test_loader
from posecore.structures.skeleton import load_skeleton

SEEN: list[torch.Tensor] = []


@META_ARCH_REGISTRY.register()
class RecordingPose(nn.Module):
    """Keeps the images that it is given, and finds nobody."""

    def __init__(self, cfg) -> None:
        super().__init__()
        self.skeleton = load_skeleton(cfg.DATASETS.SKELETON)

    def forward(self, batched_inputs):
        SEEN.extend(inputs["image"] for inputs in batched_inputs)
        return [{"instances": self.nobody(inputs)} for inputs in batched_inputs]

    def nobody(self, inputs):
        return Instances(
            (inputs["height"], inputs["width"]),
            pred_boxes=Boxes(torch.zeros(0, 4)),
            scores=torch.zeros(0),
            pred_classes=torch.zeros(0, dtype=torch.int64),
            pred_keypoints=torch.zeros(0, self.skeleton.num_keypoints, 3),
        )


def high_bytes(file: Path) -> np.ndarray:
    """16 bits become 8 by 1/256, however many of the 16 are used."""
    gray = (np.asarray(Image.open(file)).astype(np.uint16) >> 8).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)


def upright_tiff(file: Path) -> np.ndarray:
    """Uncompressed rows of 64 pixels at byte 152, to be turned a quarter clockwise."""
    stored = np.frombuffer(file.read_bytes(), np.uint8, count=96 * 64 * 3, offset=152).reshape(96, 64, 3)
    return np.rot90(stored, -1)


def as_decoded(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


# The images that are read -> their pixels; and those that are not -> the message.
PIXELS: dict[str, Callable[[Path], np.ndarray]] = {
    "pic_gray16": high_bytes,
    "pic_gray16_12bit": high_bytes,
    "pic_exif6_tif": upright_tiff,
    "pic_jp2": as_decoded,
    "pic_thin": as_decoded,
}
REFUSED = {
    "pic_float_tif": "p.tif cannot be read: its pixels are floating-point numbers",
    "pic_huge": "p.png cannot be read: it has more than INPUT.MAX_PIXELS",
}


def image_of(folder: Path) -> Path:
    (file,) = (folder / "images").iterdir()
    return file


def evaluated(folder: Path, size: int = 0) -> np.ndarray:
    """The pixels that an evaluation gives to a model, (H, W, 3); 0 for no resize."""
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.DEFINITIONS", (str(folder / "data.yaml"),), "DATALOADER.NUM_WORKERS", 0])
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", size, "INPUT.FORMAT", "RGB"])
    ((sample,),) = build_test_loader(cfg, folder.name)
    return sample["image"].permute(1, 2, 0).numpy()


@pytest.fixture
def predict(run: Callable, tmp_path: Path):
    """Runs tools/predict.py on files; returns its end and the pixels that the model was given."""
    config = {"MODEL": {"META_ARCHITECTURE": "RecordingPose", "DEVICE": "cpu", "WEIGHTS": "random"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"VERSION": 2}))

    def start(*files: Path, size: int = 0):
        SEEN.clear()
        done = run(
            "predict",
            "--config-file",
            tmp_path / "config.yaml",
            "--input",
            *files,
            "--output",
            tmp_path / "out",
            *override_list(
                {
                    "INPUT.FORMAT": "RGB",
                    "INPUT.MIN_SIZE_TEST": size,
                }
            ),
        )
        return done, [image.permute(1, 2, 0).numpy() for image in SEEN]

    return start


@pytest.mark.parametrize("name", PIXELS)
def test_evaluation_and_prediction_get_the_same_pixels(faults: Path, predict: Callable, name: str) -> None:
    file = image_of(faults / name)
    expected = PIXELS[name](file)
    np.testing.assert_array_equal(evaluated(faults / name), expected)
    done, (pixels,) = predict(file)
    assert done.status == 0, done.said
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_clear_pixels_is_refused_by_name(faults: Path, predict: Callable, name: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[name]):
        evaluated(faults / name)
    done, pixels = predict(image_of(faults / name))
    assert (done.status, pixels) == (1, [])
    assert REFUSED[name] in done.said


def test_an_image_that_a_resize_would_make_empty_is_refused_by_name(faults: Path, predict: Callable) -> None:
    with pytest.raises(ValueError, match=r"pic_thin/images/p\.png"):
        evaluated(faults / "pic_thin", size=800)
    done, pixels = predict(image_of(faults / "pic_thin"), size=800)
    assert (done.status, pixels) == (1, [])
    assert "p.png" in done.said


def test_one_broken_image_does_not_stop_the_others(faults: Path, predict: Callable, tmp_path: Path) -> None:
    names = ("pic_gray16", "pic_float_tif", "pic_jp2")
    done, pixels = predict(*(image_of(faults / name) for name in names))
    assert done.status == 1
    assert len(pixels) == 2
    records = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [Path(record["name"]).suffix for record in records] == [".png", ".jp2"]
