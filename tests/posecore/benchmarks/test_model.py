"""Benchmarks of whole models: the number of persons is the number that is asked for."""

import cv2
import pytest
import torch
from torch import nn

from posecore.benchmarks.memory import in_new_process, peak_memory
from posecore.benchmarks.model import PEER, build_ours, our_cfg, plot_times, predict, set_num_persons


@pytest.mark.parametrize("config", ["fcpose/demo/coco_tiny.yaml", "directpose/demo/coco_tiny.yaml"])
def test_fcos_models_return_as_many_persons_as_are_asked_for(config):
    model = build_ours(our_cfg(config, "cpu"))
    image = torch.randint(0, 256, (3, 128, 160), dtype=torch.uint8)
    with torch.no_grad():
        for count in (3, 7):
            predict(model, image, count)
            assert len(model([{"image": image}])[0]["instances"]) == count


@pytest.mark.parametrize("method", ["poet", "grouppose"])
def test_a_set_of_poses_is_as_large_as_it_is(method):
    model = build_ours(our_cfg(f"{method}/demo/coco_tiny.yaml", "cpu"))
    image = torch.randint(0, 256, (3, 128, 160), dtype=torch.uint8)
    assert not set_num_persons(model, 3)
    with torch.no_grad():
        predict(model, image, 3)
        assert len(model([{"image": image}])[0]["instances"]) == 8


def test_a_model_of_another_kind_has_no_number_of_persons():
    assert not set_num_persons(nn.Linear(1, 1), 3)


def test_too_many_persons_are_an_error():
    with pytest.raises(RuntimeError, match=r"DirectPose finds [0-9]+ persons instead of 100"):
        peak_memory("directpose/demo/coco_tiny.yaml", 100, (64, 64), "cpu", 1)


@pytest.mark.long
def test_memory_is_that_of_a_process_and_grows_with_the_image():
    config = "directpose/demo/coco_tiny.yaml"
    small, large = (in_new_process(peak_memory, config, 3, (side, side), "cpu", 1) for side in (64, 512))
    assert 100 < small < large < 4000


def test_a_plot_has_a_line_for_each_model(tmp_path):
    times = {(name, count): 10.0 * count for name in (PEER, "ours") for count in (1, 20)}
    plot_times(times, tmp_path / "times.png")
    assert cv2.imread(str(tmp_path / "times.png")).std() > 1
