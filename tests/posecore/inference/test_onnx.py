"""The runtime without PyTorch prepares images as the loaders do, and reads only its own files."""

import json
import subprocess
import sys

import numpy as np
import PIL
import pytest
import torch
from detectron2.data import transforms as T
from helpers.support import core_cfg
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from posecore.data.augment import evaluation_resize
from posecore.inference.onnx import Description, ImageInput, OnnxPredictor, Poses, description_file, oks_nms
from posecore.inference.resize import resize_bilinear, resized_size
from posecore.structures import oks

SIDES = st.integers(1, 60)
DESCRIPTION = {
    "version": 1,
    "method": "FCPose",
    "outputs": "poses",
    "skeleton": {"keypoints": ["a", "b"], "limbs": [["a", "b"]], "sigmas": [0.1, 0.1]},
    "input": {
        "kind": "images",
        "min_size": 0,
        "max_size": 100,
        "rounding": "nearest",
        "channels": "BGR",
        "divisibility": 32,
    },
}


@settings(max_examples=60)
@given(SIDES, SIDES, SIDES, SIDES)
@example(1, 1, 60, 60)
@example(60, 60, 1, 1)
@example(37, 53, 37, 20)
@example(30, 30, 10, 20)
@example(30, 30, 9, 20)
def test_the_resize_is_pillows_bit_by_bit(height, width, new_height, new_width):
    image = np.random.default_rng(height * 61 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR)
    found = resize_bilinear(image, (new_height, new_width))
    if int(PIL.__version__.partition(".")[0]) >= 13:
        assert np.array_equal(found, np.asarray(expected))
    else:  # earlier versions round in another order
        assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


@settings(max_examples=100)
@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from(["nearest", "down"]),
    st.sampled_from([0, 256, 800]),
)
def test_the_size_is_that_of_the_evaluation(height, width, rounding, min_size):
    cfg = core_cfg(
        "INPUT.RESIZE_ROUNDING", rounding, "INPUT.MIN_SIZE_TEST", min_size, "INPUT.MAX_SIZE_TEST", 1333
    )
    size = resized_size((height, width), min_size, 1333, rounding)
    augmentation = evaluation_resize(cfg)
    image = np.broadcast_to(np.zeros((), dtype=np.uint8), (height, width, 3))
    try:
        transform = augmentation.get_transform(image)
    except ValueError:
        assert min(size) < 1
        return
    if isinstance(transform, T.NoOpTransform):
        assert size == (height, width)
    else:
        assert size == (transform.new_h, transform.new_w)


@given(st.integers(0, 12), st.floats(0.0, 1.0))
def test_suppression_by_oks_is_that_of_the_model(count, threshold):
    rng = np.random.default_rng(count)
    poses = rng.uniform(0, 30, (count, 4, 2)).astype(np.float32)
    scores = rng.integers(0, 5, count).astype(np.float32) / 5
    areas, sigmas = rng.uniform(50, 500, count), np.array([0.1, 0.2, 0.3, 0.4])
    expected = oks.oks_nms(
        *(torch.from_numpy(values).double() for values in (poses, scores, areas, sigmas)), threshold
    )
    assert oks_nms(poses.astype(np.float64), scores, areas, sigmas, threshold).tolist() == expected.tolist()


def test_images_are_padded_to_a_common_size():
    prepare = ImageInput(0, 100, "nearest", "BGR", 32)
    image = np.arange(40 * 20 * 3, dtype=np.uint8).reshape(40, 20, 3)
    samples = [prepare.sample(image), prepare.sample(image[:7, :5])]
    inputs = prepare.inputs(samples)
    assert inputs["images"].shape == (2, 3, 64, 32)
    assert inputs["sizes"].tolist() == [[40, 20], [7, 5]]
    assert np.array_equal(inputs["images"][0, :, :40, :20], image.transpose(2, 0, 1)[::-1])
    assert not inputs["images"][1, :, 7:].any()


def test_poses_come_back_to_the_original_image():
    prepare = ImageInput(50, 100, "nearest", "RGB", 32, shift=0.5)
    sample = prepare.sample(np.zeros((100, 160, 3), dtype=np.uint8))
    assert sample["image"].shape == (3, 50, 80)
    outputs = {
        "boxes": np.array([[[1, 2, 30, 60], [0, 0, 0, 0]]], dtype=np.float32),
        "scores": np.array([[0.5, 0.0]], dtype=np.float32),
        "classes": np.zeros((1, 2), dtype=np.int64),
        "keypoints": np.array([[[[3, 4, 0.9]], [[0, 0, 0]]]], dtype=np.float32),
        "valid": np.array([[True, False]]),
    }
    (poses,) = prepare.poses(outputs, [sample])
    assert poses.image_size == (100, 160)
    assert poses.pred_boxes.tolist() == [[2, 4, 60, 100]]
    np.testing.assert_allclose(poses.pred_keypoints, [[[6.5, 8.5, 0.9]]], rtol=1e-6)
    assert len(poses[poses.scores > 0.6]) == 0


def test_too_thin_images_are_refused():
    prepare = ImageInput(800, 1333, "nearest", "RGB", 32)
    with pytest.raises(ValueError, match=r"an image of 3000 x 1 pixels is too thin"):
        prepare.sample(np.zeros((1, 3000, 3), dtype=np.uint8))


class Nothing:
    """A session that finds nobody."""

    def run(self, inputs):
        count = len(inputs["images"])
        return {
            "boxes": np.zeros((count, 1, 4), dtype=np.float32),
            "scores": np.zeros((count, 1), dtype=np.float32),
            "classes": np.zeros((count, 1), dtype=np.int64),
            "keypoints": np.zeros((count, 1, 2, 3), dtype=np.float32),
            "valid": np.zeros((count, 1), dtype=bool),
        }


def test_nobody_is_an_empty_result():
    predictor = OnnxPredictor(Description.parse(DESCRIPTION), Nothing())
    poses = predictor(np.zeros((20, 30, 3), dtype=np.uint8))
    assert isinstance(poses, Poses)
    assert (len(poses), poses.pred_keypoints.shape) == (0, (0, 2, 3))
    assert predictor.batch([]) == []
    assert not predictor.needs_boxes
    assert predictor.description.limbs == ((0, 1),)


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32)])
def test_an_image_must_be_uint8_with_three_channels(image):
    predictor = OnnxPredictor(Description.parse(DESCRIPTION), Nothing())
    with pytest.raises(ValueError, match=r"an image must be a \(H, W, 3\) array of uint8"):
        predictor(image)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "no description of an exported model"),
        ("[]", "no description of an exported model"),
        (json.dumps(DESCRIPTION | {"version": 99}), "its version is 99"),
        (json.dumps(DESCRIPTION | {"outputs": "raw"}), "--outputs raw"),
        (json.dumps({"version": 1, "outputs": "poses"}), "it lacks 'skeleton'"),
        (json.dumps(DESCRIPTION | {"input": {"kind": "sounds"}}), "must be 'images' or 'crops'"),
        (json.dumps(DESCRIPTION | {"input": {"kind": "images"}}), "no description"),
    ],
)
def test_a_wrong_description_is_named(content, reason, tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    description_file(model).write_text(content)
    with pytest.raises(ValueError, match=r"model\.onnx\.json") as error:
        OnnxPredictor.from_file(model)
    assert reason in str(error.value)


def test_missing_and_broken_files_are_named(tmp_path):
    pytest.importorskip("onnxruntime", reason="the runtime needs requirements/export.txt")
    model = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError, match=r"model\.onnx is missing"):
        OnnxPredictor.from_file(model)
    model.write_bytes(b"no model")
    with pytest.raises(FileNotFoundError, match=r"model\.onnx\.json is missing"):
        OnnxPredictor.from_file(model)
    description_file(model).write_text(json.dumps(DESCRIPTION))
    with pytest.raises(ValueError, match=r"model\.onnx: ONNX Runtime cannot read this model"):
        OnnxPredictor.from_file(model)
    with pytest.raises(ValueError, match="the backend must be one of onnxruntime, openvino, not 'tensorrt'"):
        OnnxPredictor.from_file(model, backend="tensorrt")
    with pytest.raises(ValueError, match="runtime must be one of float32, bfloat16, float16, not 'int8'"):
        OnnxPredictor.from_file(model, backend="openvino", precision="int8")
    with pytest.raises(ValueError, match="ONNX Runtime computes a model as the file has it"):
        OnnxPredictor.from_file(model, precision="bfloat16")


@pytest.mark.parametrize(("backend", "name"), [("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")])
def test_a_missing_runtime_is_said(backend, name, tmp_path, monkeypatch):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    description_file(model).write_text(json.dumps(DESCRIPTION))
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(ImportError, match=f"{name} is not installed: pip install {backend}"):
        OnnxPredictor.from_file(model, backend=backend)


def test_it_is_imported_without_pytorch_and_detectron2(root):
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'detectron2', 'PIL', 'yaml'): sys.modules[name] = None\n"
        "import posecore.inference.onnx\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
