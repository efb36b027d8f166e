"""Selection and suppression with fixed sizes are those of the detector, also as ONNX operators."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from posecore.export.fcos import clipped, fixed_candidates, take_rows
from posecore.export.suppression import nms_rows, soft_nms_rows
from posecore.inference.onnx import OpenVINOSession
from posecore.modeling.fcos.decode import clip_boxes, select_candidates, soft_suppress, suppress
from posecore.modeling.fcos.detector import InferenceSettings
from posecore.modeling.fcos.locations import make_locations


def boxes_of(count: int, rows: int) -> torch.Tensor:
    """(count, rows, 4) boxes that overlap; some have no area."""
    corners = torch.rand(count, rows, 2) * 30
    sides = torch.rand(count, rows, 2) * 20 * (torch.rand(count, rows, 1) > 0.1)
    return torch.cat([corners, corners + sides], dim=-1)


@pytest.mark.parametrize("limits", [(1000, 0), (5, 0), (5, 7), (1000, 9)])
def test_candidates_are_those_of_the_detector(limits):
    locations = make_locations([(4, 6), (2, 3), (1, 2)], [8, 16, 32])
    probability, scores = torch.rand(3, 32), torch.rand(3, 32)
    probability[1] = 0
    settings = InferenceSettings(score_thresh=0.5, topk_per_level=limits[0], topk_per_image=limits[1])
    expected = select_candidates(
        probability, scores, locations, score_thresh=0.5, topk_per_level=limits[0], topk_per_image=limits[1]
    )
    found = fixed_candidates(probability, scores, locations, settings)
    assert found.valid.sum(dim=1).tolist() == expected.counts
    valid = found.valid.flatten()
    assert torch.equal(found.locations.index[valid], expected.locations.index)
    assert torch.equal(found.locations.images[valid], expected.locations.images)
    assert torch.equal(found.scores[found.valid], expected.scores)


class Suppression(nn.Module):
    def forward(self, boxes, scores):
        return nms_rows(boxes, scores, 0.4, 6), *soft_nms_rows(boxes, scores, 0.4, 0.001, 6)


def expected_rows(boxes, scores):
    """The positions that the detector keeps of each image, with -1 for the rest."""
    rows = torch.full((len(boxes), 6), -1)
    for row, own_boxes, own_scores in zip(rows, boxes, scores, strict=True):
        present = (own_scores > 0).nonzero()[:, 0]
        kept = suppress(own_boxes[present], own_scores[present], nms_thresh=0.4, max_detections=6)
        row[: len(kept)] = present[kept]
    return rows


def test_suppression_is_that_of_the_detector():
    boxes, scores = boxes_of(4, 20), torch.rand(4, 20) - 0.3
    scores[1] = -1
    assert torch.equal(nms_rows(boxes, scores, 0.4, 6), expected_rows(boxes, scores))
    torch.library.opcheck(nms_rows, (boxes, scores, 0.4, 6))


@pytest.fixture(scope="module")
def suppression_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX model of :class:`Suppression`."""
    pytest.importorskip("onnxscript", reason="exports need requirements/export.txt")
    from posecore.export.onnx_file import ONNX_FORMS, OPSET

    count, rows = torch.export.Dim("count", max=64), torch.export.Dim("rows", max=4096)
    file = tmp_path_factory.mktemp("suppression") / "nms.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the exporter, about names of sizes
        program = torch.onnx.export(
            Suppression(),
            (boxes_of(3, 20), torch.rand(3, 20)),
            dynamic_shapes={"boxes": {0: count, 1: rows}, "scores": {0: count, 1: rows}},
            opset_version=OPSET,
            custom_translation_table=ONNX_FORMS,
            dynamo=True,
            verbose=False,
            optimize=False,
        )
    program.save(str(file))
    return file


def test_suppression_as_onnx_operators(suppression_file):
    onnxruntime = pytest.importorskip("onnxruntime", reason="exports need requirements/export.txt")
    session = onnxruntime.InferenceSession(str(suppression_file))
    for images, candidates in ((1, 1), (3, 20), (5, 60)):
        boxes, scores = boxes_of(images, candidates), torch.rand(images, candidates) - 0.2
        scores[images // 2 :] -= 0.5 * (images > 1)
        kept, soft, reduced = session.run(None, {"boxes": boxes.numpy(), "scores": scores.numpy()})
        assert np.array_equal(kept, expected_rows(boxes, scores).numpy())
        expected = soft_nms_rows(boxes, scores, 0.4, 0.001, 6)
        assert np.array_equal(soft, expected[0].numpy())
        np.testing.assert_allclose(reduced, expected[1], rtol=1e-5)
    nobody = session.run(None, {"boxes": boxes.numpy(), "scores": np.full((5, 60), -1, np.float32)})
    assert (nobody[0] == -1).all()
    assert (nobody[1] == -1).all()


def test_openvino_suppresses_boxes_of_unknown_shape(suppression_file, tmp_path):
    onnx = pytest.importorskip("onnx", reason="exports need requirements/export.txt")
    pytest.importorskip("openvino", reason="this runtime needs requirements/openvino.txt")
    model = onnx.load(str(suppression_file))
    # As behind int8 convolutions, whose quantization forgets shapes.
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    for place in (1, 2):
        dimensions[place].Clear()
        dimensions[place].dim_param = f"unknown{place}"
    del model.graph.value_info[:]
    onnx.save(model, str(tmp_path / "unknown.onnx"))
    session = OpenVINOSession(tmp_path / "unknown.onnx", threads=1)
    boxes, scores = boxes_of(3, 20), torch.rand(3, 20) - 0.2
    kept = next(iter(session.run({"boxes": boxes.numpy(), "scores": scores.numpy()}).values()))
    assert np.array_equal(kept, expected_rows(boxes, scores).numpy())


def test_soft_suppression_is_that_of_the_decoder():
    boxes = boxes_of(3, 25)
    scores = torch.rand(3, 25)
    scores[1, 4:] = -1
    scores[2] = -1
    rows, reduced = soft_nms_rows(boxes, scores, 0.3, 0.001, 30)
    for image in range(3):
        present = (scores[image] >= 0).nonzero()[:, 0]
        expected = soft_suppress(
            boxes[image][present], scores[image][present], nms_thresh=0.3, min_score=0.001, max_detections=30
        )
        valid = rows[image] >= 0
        assert torch.equal(rows[image][valid], present[expected.index])
        assert_close(reduced[image][valid], expected.scores)


def test_rows_are_taken_and_boxes_clipped():
    values = torch.arange(24.0).view(2, 4, 3)
    rows = torch.tensor([[2, -1], [0, 3]])
    assert torch.equal(take_rows(values, rows), torch.stack([values[0, [2, 0]], values[1, [0, 3]]]))
    boxes, sizes = boxes_of(2, 5) - 10, torch.tensor([[12, 20], [30, 5]])
    for image, size in enumerate(sizes.tolist()):
        assert torch.equal(clipped(boxes, sizes)[image], clip_boxes(boxes[image], tuple(size)).tensor)
