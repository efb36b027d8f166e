"""Reading files that others made: names that come out right, and code that does not run."""

import argparse
import builtins
import os
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torchvision
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_resnet_backbone
from helpers.configs import override_list
from helpers.support import core_cfg

from posecore.checkpoint.checkpointer import fit_weights
from posecore.checkpoint.weights import CheckpointError, load_pickle, read_checkpoint
from posecore.modeling.backbones import HRFormer, TimmBackbone
from posecore.modeling.backbones.hrformer import SIZES


def our_resnet(depth):
    cfg = core_cfg(
        *override_list(
            {
                "MODEL.RESNETS.DEPTH": depth,
                "MODEL.RESNETS.STRIDE_IN_1X1": False,
                "MODEL.RESNETS.NORM": "BN",
                "MODEL.RESNETS.RES2_OUT_CHANNELS": 64 if depth < 50 else 256,
                "MODEL.RESNETS.OUT_FEATURES": ["res5"],
                "MODEL.BACKBONE.FREEZE_AT": 0,
            }
        ),
    )
    return build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvisions_resnets_compute_the_same_here(tmp_path, depth):
    theirs = getattr(torchvision.models, f"resnet{depth}")().eval()
    for name, buffer in theirs.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = our_resnet(depth)
    ours.load_state_dict(read_checkpoint(str(tmp_path / "theirs.pth"))["model"])
    image = torch.rand(1, 3, 64, 64)
    features = torch.nn.Sequential(*list(theirs.children())[:-2])
    torch.testing.assert_close(ours(image)["res5"], features(image), rtol=1e-4, atol=1e-4)


def test_weights_of_torchvision_by_name(monkeypatch):
    asked = []

    def fetch(self, **options):
        asked.append(self)
        return torchvision.models.resnet18().state_dict()

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", fetch)
    monkeypatch.setattr(torchvision.models.ResNet50_Weights, "get_state_dict", fetch)
    weights = read_checkpoint("torchvision://resnet18")["model"]
    assert weights.keys() == our_resnet(18).state_dict().keys()
    read_checkpoint("torchvision://ResNet50_Weights.IMAGENET1K_V2")
    assert [weights.name for weights in asked] == ["IMAGENET1K_V1", "IMAGENET1K_V2"]


@pytest.mark.parametrize("name", ["resnet17", "ResNet50_Weights.IMAGENET1K_V9"])
def test_names_that_torchvision_does_not_have(name):
    with pytest.raises(
        CheckpointError, match=rf"MODEL.WEIGHTS torchvision://{name}: torchvision has no such weights"
    ):
        read_checkpoint(f"torchvision://{name}")


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet10t", {}), ("hrnet_w18_small", {}), ("mobilenetv2_035", {"head_conv": True})],
)
def test_weights_of_timm_fit_its_backbones(monkeypatch, name, options):
    create = timm.create_model
    asked = []

    def without_download(name, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    model = torch.nn.ModuleDict({"backbone": TimmBackbone(name, **options)}).state_dict()
    monkeypatch.setattr(timm, "create_model", without_download)
    weights = read_checkpoint(f"timm://{name}")["model"]
    assert all(asked)
    assert fit_weights(weights, model, name, strict=True).keys() == model.keys()


def test_the_backbone_of_a_checkpoint_of_mmpose(tmp_path):
    resnet = torchvision.models.resnet18().state_dict()
    weights = {f"backbone.{name}": w for name, w in resnet.items() if not name.startswith("fc.")}
    file = tmp_path / "theirs.pth"
    torch.save({"state_dict": {**weights, "keypoint_head.final.weight": torch.ones(1)}}, file)
    ours = our_resnet(18)
    ours.load_state_dict(read_checkpoint(f"backbone://{file}")["model"])
    assert torch.equal(ours.res5[1].conv2.weight, resnet["layer4.1.conv2.weight"])
    torch.save({"state_dict": {"keypoint_head.final.weight": torch.ones(1)}}, file)
    with pytest.raises(CheckpointError, match="no name in it begins with 'backbone"):
        read_checkpoint(f"backbone://{file}")


def test_the_backbone_of_another_method(tmp_path):
    weights = our_resnet(18).state_dict()
    content = {f"backbone.bottom_up.{name}": weight for name, weight in weights.items()}
    around = dict.fromkeys(("backbone.fpn_output3.bias", "backbone.top_block.p6.bias"), torch.ones(1))
    torch.save({"model": {**content, **around, "head.bias": torch.ones(1)}}, tmp_path / "theirs.pth")
    found = read_checkpoint(f"backbone://{tmp_path / 'theirs.pth'}")["model"]
    assert found.keys() == weights.keys()


def test_weights_of_official_hrformers(tmp_path):
    """A part of their file: attention with positions, which ours has not, and a classifier."""
    theirs = ["conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "classifier.weight"]
    block = "stage2.0.branches.0.0"
    theirs += [f"{block}.attn.attn.{leaf}" for leaf in ("q_proj.weight", "relative_position_bias_table")]
    theirs += [f"{block}.mlp.dw3x3.bias", "stage3.1.fuse_layers.2.0.1.3.weight"]
    torch.save({"model": {name: torch.zeros(1) for name in theirs}}, tmp_path / "hrformer.pth")
    ours = read_checkpoint(str(tmp_path / "hrformer.pth"))["model"].keys()
    known = HRFormer(SIZES["T"]).state_dict().keys()
    assert ours - known == {"classifier.weight"}
    assert len(ours) == len(theirs) - 1


def test_names_that_timm_does_not_have():
    with pytest.raises(CheckpointError, match=r"MODEL.WEIGHTS timm://dla35: .*dla35"):
        read_checkpoint("timm://dla35")


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_arrays(tmp_path, protocol):
    weights = {"stem.conv1.weight": np.ones((2, 3), np.float32), "stem.fc.weight": np.zeros(1)}
    content = {"model": weights, "__author__": "somebody", "matching_heuristics": True, "tags": {"a", "b"}}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    read = read_checkpoint(str(tmp_path / "R-50.pkl"))
    assert read["__author__"] == "somebody"
    assert read["model"].keys() == {"stem.conv1.weight"}, "the classifier is left out"
    assert torch.equal(read["model"]["stem.conv1.weight"], torch.ones(2, 3))


def test_caffe2s_names(tmp_path):
    blobs = {
        "conv1_w": "stem.conv1.weight",
        "conv1_gn_s": "stem.conv1.norm.weight",
        "res2_0_branch1_gn_b": "res2.0.shortcut.norm.bias",
        "res5_2_branch2c_w": "res5.2.conv3.weight",
    }
    content = {"blobs": {name: np.zeros(1, np.float32) for name in [*blobs, "fc1000_w", "conv1_w_momentum"]}}
    (tmp_path / "R-50-GN.pkl").write_bytes(pickle.dumps(content, protocol=2))
    assert read_checkpoint(str(tmp_path / "R-50-GN.pkl"))["model"].keys() == set(blobs.values())


class Runs:
    """Unpickling one calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    "function", [os.system, eval, exec, getattr, builtins.__import__, os.rename, np.load, torch.load]
)
def test_pickles_do_not_run_code(tmp_path, function, protocol):
    data = pickle.dumps({"model": {"w": Runs(function, "__import__('os').mkdir('ran')")}}, protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match="only arrays and plain values"):
        load_pickle(data)
    (tmp_path / "evil.pkl").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"MODEL.WEIGHTS .*evil.pkl: not a readable checkpoint"):
        read_checkpoint(str(tmp_path / "evil.pkl"))


def test_torch_files_do_not_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"w": Runs(os.mkdir, "ran")}}, "evil.pth")
    with pytest.raises(CheckpointError, match=r"MODEL.WEIGHTS evil.pth: not a readable checkpoint"):
        read_checkpoint("evil.pth")
    assert not (tmp_path / "ran").exists()


def test_options_beside_the_weights_are_read(tmp_path):
    """Checkpoints of DETR and POET hold an argparse Namespace."""
    file = tmp_path / "theirs.pth"
    options = argparse.Namespace(lr=1e-4, num_queries=25, masks=False, coco_filter=None)
    torch.save({"model": {"a.weight": torch.ones(2)}, "args": options, "epoch": 249}, file)
    content = read_checkpoint(str(file))
    assert content["args"] == options
    assert content["model"]["a.weight"].tolist() == [1, 1]


def test_options_cannot_hide_code(tmp_path):
    file = tmp_path / "theirs.pth"
    torch.save({"model": {"a": torch.ones(2)}, "args": argparse.Namespace(hook=os.system)}, file)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        read_checkpoint(str(file))


def test_missing_file():
    with pytest.raises(CheckpointError, match=r"MODEL.WEIGHTS nowhere/model.pth: the file does not exist"):
        read_checkpoint("nowhere/model.pth")


def test_address_without_network(monkeypatch):
    def fail(path):
        raise OSError("no route to host")

    monkeypatch.setattr("posecore.checkpoint.weights.PathManager", SimpleNamespace(get_local_path=fail))
    with pytest.raises(CheckpointError, match=r"MODEL.WEIGHTS https://x.org/a.pth: no route to host"):
        read_checkpoint("https://x.org/a.pth")


@pytest.mark.parametrize(("name", "content"), [("a.pth", b""), ("a.pth", b"not a zip"), ("a.pkl", b"\x80")])
def test_broken_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"MODEL.WEIGHTS .*{name}: not a readable checkpoint"):
        read_checkpoint(str(tmp_path / name))


def test_truncated_file(tmp_path):
    torch.save({"w": torch.zeros(1000)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"b.pth: not a readable checkpoint"):
        read_checkpoint(str(tmp_path / "b.pth"))


@pytest.mark.parametrize(
    ("content", "message"),
    [([1], "must hold weights by name, not a list"), ({"w": "text"}, "'w' must be a weight, not 'text'")],
)
def test_files_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"a.pth: {message}"):
        read_checkpoint(str(tmp_path / "a.pth"))


def test_prefix_of_distributed_training_is_dropped(tmp_path):
    torch.save({"state_dict": {"module.w": torch.zeros(1), "module.v": torch.zeros(1)}}, tmp_path / "a.pth")
    assert read_checkpoint(str(tmp_path / "a.pth"))["model"].keys() == {"w", "v"}


def test_a_changed_byte_is_found(tmp_path):
    """torch.load does not compare the sums that torch.save has written."""
    file = tmp_path / "model.pth"
    torch.save({"model": {"weight": torch.full((1000,), 7.0)}}, file)
    read_checkpoint(str(file))
    content = bytearray(file.read_bytes())
    content[content.index(torch.tensor([7.0, 7.0]).numpy().tobytes()) + 400] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pth: .*differs from what was saved"):
        read_checkpoint(str(file))
