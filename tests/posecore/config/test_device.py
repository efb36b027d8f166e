"""MODEL.DEVICE: what "auto" stands for, in which ways it is read, and devices that are not there."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from helpers import toy_model  # noqa: F401  (registers ToyPose)

from posecore.config import get_cfg
from posecore.config.device import check_device, find_device
from posecore.config.merge import UsageError, merge_config


@pytest.mark.parametrize(("gpu", "device"), [(False, "cpu"), (True, "cuda")])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, gpu: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert find_device("auto") == device
    assert device == get_cfg().MODEL.DEVICE
    assert device == merge_config(get_cfg(), "", ["MODEL.DEVICE", "auto"]).MODEL.DEVICE
    assert merge_config(get_cfg(), "", ["MODEL.DEVICE", "cpu"]).MODEL.DEVICE == "cpu"


def test_a_raw_configuration_builds_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "ToyPose"])
    assert next(build_model(cfg).parameters()).device.type == "cpu"


def test_auto_is_named_by_every_way_of_merging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = tmp_path / "config.yaml"
    file.write_text("VERSION: 2\nMODEL: {META_ARCHITECTURE: ToyPose, DEVICE: auto}\n")
    from_file, from_list, from_other = get_cfg(), get_cfg(), get_cfg()
    from_file.merge_from_file(str(file))
    from_list.merge_from_list(["MODEL.DEVICE", "auto"])
    other = get_cfg()
    other.MODEL.DEVICE = "auto"
    from_other.merge_from_other_cfg(other)
    assert next(build_model(from_file).parameters()).device.type == "cpu"
    assert from_list.MODEL.DEVICE == from_other.MODEL.DEVICE == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU", "0"])
def test_devices_that_torch_does_not_know(name: str) -> None:
    with pytest.raises(ValueError, match=f"MODEL.DEVICE must be auto, cpu, cuda or cuda:N, not {name!r}"):
        find_device(name)
    with pytest.raises(UsageError):
        merge_config(get_cfg(), "", ["MODEL.DEVICE", repr(name)])


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=r"MODEL.DEVICE is 'cuda', but .*add `MODEL.DEVICE cpu`, or `MODEL.DEVICE auto`"
    ):
        check_device("cuda")
    with pytest.raises(ValueError, match=r"--device is 'cuda:0', but .*add `--device cpu`"):
        check_device("cuda:0", "--device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_device("cuda:1")
    with pytest.raises(ValueError, match=r"MODEL.DEVICE is 'cuda:2', but this machine has 2 GPUs"):
        check_device("cuda:2")
