"""What is saved comes back, and weights that do not fit are refused by name."""

import logging

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.weights import CheckpointError, require_weights


class Body(nn.Module):
    """Names as in Detectron2's ResNets, statistics frozen."""

    def __init__(self, blocks=2):
        super().__init__()
        self.stem = nn.ModuleDict({"conv1": nn.Conv2d(3, 2, 1)})
        self.stem["conv1"].norm = FrozenBatchNorm2d(2)
        self.res2 = nn.ModuleList([nn.Conv2d(2, 2, 1) for _ in range(blocks)])


class Model(nn.Module):
    def __init__(self, head="keypoints", outputs=4, blocks=2):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = Body(blocks)
        self.backbone.lateral = nn.Conv2d(2, 2, 1)
        self.add_module(head, nn.Conv2d(2, outputs, 1))
        self.register_buffer("pixel_mean", torch.zeros(3))


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def save(folder, model, name="model", **checkpointables):
    PoseCheckpointer(model, str(folder), **checkpointables).save(name, iteration=6)
    return str(folder / f"{name}.pth")


def save_weights(folder, weights):
    torch.save(weights, folder / "weights.pth")
    return str(folder / "weights.pth")


def test_round_trip_with_optimizer(tmp_path):
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    file = save(tmp_path, model, optimizer=optimizer)
    content = torch.load(file, weights_only=True)
    assert content.keys() == {"model", "optimizer", "iteration"}

    other = Model()
    fresh = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9)
    rest = PoseCheckpointer(other, str(tmp_path), optimizer=fresh).resume_or_load("", resume=True)
    assert rest == {"iteration": 6}
    assert equal(other.state_dict(), model.state_dict())
    assert fresh.state_dict()["param_groups"][0]["lr"] == 0.1
    momentum = fresh.state_dict()["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, optimizer.state_dict()["state"][0]["momentum_buffer"])


def test_the_last_one_is_resumed_and_without_one_the_weights_are_used(tmp_path):
    old, new, start = Model(), Model(), Model()
    save(tmp_path, old, "first")
    save(tmp_path, new, "second")
    model = Model()
    PoseCheckpointer(model, str(tmp_path)).resume_or_load("nowhere.pth", resume=True)
    assert equal(model.state_dict(), new.state_dict())
    weights = save_weights(tmp_path, start.state_dict())
    assert PoseCheckpointer(model, str(tmp_path / "empty")).resume_or_load(weights, resume=True) == {}
    assert equal(model.state_dict(), start.state_dict())


def test_resuming_needs_the_optimizer(tmp_path):
    model = Model()
    save(tmp_path, model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(CheckpointError, match=r"model.pth has no 'optimizer'"):
        PoseCheckpointer(model, str(tmp_path), optimizer=optimizer).resume_or_load("", resume=True)


def test_resuming_with_other_parameter_groups(tmp_path):
    model = Model()
    save(tmp_path, model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer = torch.optim.SGD([{"params": [parameter]} for parameter in model.parameters()], lr=0.1)
    with pytest.raises(CheckpointError, match=r"model.pth was trained with another optimizer"):
        PoseCheckpointer(model, str(tmp_path), optimizer=optimizer).resume_or_load("", resume=True)


def test_nothing_broken_is_saved(tmp_path):
    model = Model()
    save(tmp_path, model, "good")
    model.keypoints.weight.data[0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"keypoints.weight is not finite.*bad.pth is not saved"):
        save(tmp_path, model, "bad")
    assert PoseCheckpointer(model, str(tmp_path)).get_checkpoint_file().endswith("good.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.pth", "last_checkpoint"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    model = Model()
    file = save(tmp_path, model)

    def half(content, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, Model())
    assert equal(torch.load(file)["model"], model.state_dict())


def trained(model):
    """An optimizer with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.square().sum() for parameter in model.parameters()).backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("tag", [b"", b"  \n", b"model_0000099.pth", b"\xff\x00", None])
def test_without_a_last_checkpoint_the_newest_whole_one_is_taken(tmp_path, caplog, tag):
    old, new = Model(), Model()
    save(tmp_path, old, "model_0000003", optimizer=trained(old))
    save(tmp_path, new, "model_0000007", optimizer=trained(new))
    (tmp_path / "model_0000009.pth").write_bytes((tmp_path / "model_0000007.pth").read_bytes()[:900])
    save_weights(tmp_path, Model().state_dict())
    (tmp_path / "last_checkpoint").unlink()
    if tag is not None:
        (tmp_path / "last_checkpoint").write_bytes(tag)
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with caplog.at_level(logging.WARNING, logger="posecore"):
        content = PoseCheckpointer(model, str(tmp_path), optimizer=optimizer).resume_or_load("")
    assert content == {"iteration": 6}
    assert equal(model.state_dict(), new.state_dict())
    assert "model_0000007.pth is the newest whole checkpoint and is taken" in caplog.text
    assert "model_0000009.pth is passed over" in caplog.text


def test_the_last_checkpoint_is_named_as_a_whole(tmp_path, monkeypatch):
    """Killed at any place, the name is the old one or the new one."""
    save(tmp_path, Model(), "first")

    def killed(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        PoseCheckpointer(Model(), str(tmp_path)).tag_last_checkpoint("second.pth")
    assert (tmp_path / "last_checkpoint").read_text() == "first.pth"


def test_leftovers_of_an_interrupted_save_are_removed(tmp_path, caplog):
    save(tmp_path, Model())
    for name in ("model_final.pth.part", "last_checkpoint.part", "thesis.part"):
        (tmp_path / name).write_bytes(b"half")
    with caplog.at_level(logging.WARNING, logger="posecore"):
        PoseCheckpointer(Model(), str(tmp_path)).resume_or_load("", resume=True)
    assert not (tmp_path / "model_final.pth.part").exists()
    assert not (tmp_path / "last_checkpoint.part").exists()
    assert (tmp_path / "thesis.part").exists(), "not ours"
    assert "model_final.pth.part, which an interrupted save left" in caplog.text


def change_momentum(state, value):
    state["state"][0]["momentum_buffer"] = value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["state"][0]["momentum_buffer"].fill_(float("nan")), "momentum_buffer .* is not finite"),
        (lambda s: s["state"][0]["momentum_buffer"].view(-1)[:1].fill_(float("inf")), "is not finite"),
        (lambda s: change_momentum(s, torch.zeros(1)), r"momentum_buffer of parameter 0 has shape \(1,\)"),
        (lambda s: change_momentum(s, torch.zeros(())), r"momentum_buffer of parameter 0 has shape \(\)"),
        (lambda s: change_momentum(s, "text"), "must be numbers, not str"),
        (lambda s: s["state"].update({99: {}}), "entry 99"),
        (lambda s: s["state"].update({0: "text"}), "a dict of dicts"),
        (lambda s: s.update(state=[]), "a dict of dicts"),
        (lambda s: s.update(param_groups="x"), "a list of dicts"),
        (lambda s: s["param_groups"][0].update(lr="fast"), "must be numbers, not str"),
        (lambda s: s["param_groups"][0].update(lr=float("nan")), "lr is nan"),
        (lambda s: s["param_groups"][0].update(momentum=float("inf")), "momentum is inf"),
        (lambda s: s["param_groups"][0].update(betas=(0.9, 0.99)), "another SOLVER.OPTIMIZER"),
        (lambda s: s["param_groups"][0].update(params=[0]), "groups of parameters"),
        (lambda s: s.clear(), "state and param_groups"),
    ],
)
def test_broken_states_of_the_optimizer_are_refused(tmp_path, change, message):
    model = Model()
    file = save(tmp_path, model, optimizer=trained(model))
    content = torch.load(file)
    change(content["optimizer"])
    torch.save(content, file)
    checkpointer = PoseCheckpointer(model, str(tmp_path), optimizer=trained(model))
    with pytest.raises(CheckpointError, match=rf"model.pth was trained with another optimizer.*{message}"):
        checkpointer.resume_or_load("", resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(scale=float("nan")), "scale is nan"),
        (lambda s: s.update(scale="big"), "scale must be a number, not 'big'"),
        (lambda s: s.pop("scale"), "it must have the keys"),
        (lambda s: s.update(more=1), "it must have the keys"),
    ],
)
def test_broken_states_of_others_are_refused(tmp_path, change, message):
    file = save(tmp_path, Model(), scaler=torch.amp.GradScaler("cpu"))
    content = torch.load(file)
    change(content["scaler"])
    torch.save(content, file)
    checkpointer = PoseCheckpointer(Model(), str(tmp_path), scaler=torch.amp.GradScaler("cpu"))
    with pytest.raises(CheckpointError, match=rf"another scaler, or its scaler is broken: {message}"):
        checkpointer.resume_or_load("", resume=True)


def test_the_precision_of_weights_is_said(tmp_path, caplog):
    model = Model()
    file = save_weights(tmp_path, {name: weight.half() for name, weight in model.state_dict().items()})
    with caplog.at_level(logging.WARNING, logger="posecore"):
        PoseCheckpointer(Model()).load(file)
    assert "have a lower precision than the model (torch.float16 instead of torch.float32)" in caplog.text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((4,), float("nan")), "keypoints.bias is not finite"),
        (torch.zeros(4, dtype=torch.int64), "keypoints.bias is torch.int64"),
        (torch.zeros(4, dtype=torch.complex64), "'keypoints.bias' must be a weight"),
    ],
)
def test_weights_that_are_no_finite_numbers_are_refused(tmp_path, value, message):
    file = save_weights(tmp_path, {**Model().state_dict(), "keypoints.bias": value})
    with pytest.raises(CheckpointError, match=message):
        PoseCheckpointer(Model()).load(file, strict=False)


def test_only_the_process_that_should_saves(tmp_path):
    PoseCheckpointer(Model(), str(tmp_path), save_to_disk=False).save("model")
    PoseCheckpointer(Model(), "").save("model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("strict", "level"), [(True, logging.WARNING), (False, logging.INFO)])
@pytest.mark.parametrize("source", ["", "random"])
def test_no_weights_change_nothing(caplog, source, strict, level):
    model = Model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with caplog.at_level(logging.INFO, logger="posecore"):
        assert PoseCheckpointer(model).load(source, strict=strict) == {}
    assert equal(model.state_dict(), before)
    assert [record.levelno for record in caplog.records] == [level]


def test_a_model_that_is_not_trained_here_needs_weights():
    for source in ("random", "model.pth"):
        require_weights(source)
    with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHTS is empty.*add `MODEL\.WEIGHTS random`"):
        require_weights("")


@pytest.mark.parametrize("strict", [True, False])
def test_another_method(tmp_path, strict):
    file = save(tmp_path, Model("controllers"))
    message = r"model.pth is a checkpoint of another method or config: it has controllers.*needs keypoints"
    with pytest.raises(CheckpointError, match=message):
        PoseCheckpointer(Model()).load(file, strict=strict)


@pytest.mark.parametrize("strict", [True, False])
def test_something_else_entirely(tmp_path, strict):
    file = save_weights(tmp_path, {"a.b": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"another method or config: it has a.b"):
        PoseCheckpointer(Model()).load(file, strict=strict)


def test_another_number_of_keypoints(tmp_path, caplog):
    trained = Model(outputs=4)
    file = save(tmp_path, trained)
    model = Model(outputs=6)
    with pytest.raises(CheckpointError, match=r"another skeleton: keypoints.weight \(4, .*\) for \(6, "):
        PoseCheckpointer(model).load(file)
    with caplog.at_level(logging.WARNING, logger="posecore"):
        PoseCheckpointer(model).load(file, strict=False)
    assert (
        "2 weights have another shape in the file and keep their initialization: keypoints.weight"
        in caplog.text
    )
    assert torch.equal(model.backbone.lateral.weight, trained.backbone.lateral.weight)


def test_weights_that_stay_random_are_named(tmp_path, caplog):
    """Frozen weights that the file does not have: nothing else would tell of them."""
    trained, model = Model(), Model()
    model.backbone.lateral.requires_grad_(False)
    file = save_weights(tmp_path, backbone_weights(trained))
    warning = "2 weights stay at their random initialization"
    for path in (file, "", "random"):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="posecore"):
            PoseCheckpointer(model).load(path, strict=False)
        assert warning in caplog.text
        assert "MODEL.TIMM.FREEZE_STRIDE trains them): backbone.lateral.weight, backbone.lat" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="posecore"):
        PoseCheckpointer(model).load(save(tmp_path, trained), strict=False)
        PoseCheckpointer(model.requires_grad_(True)).load(file, strict=False)
    assert warning not in caplog.text


def test_a_file_with_too_much_loads_with_a_warning(tmp_path, caplog):
    trained = Model()
    trained.heatmaps = nn.Conv2d(2, 2, 1)
    model = Model()
    with caplog.at_level(logging.WARNING, logger="posecore"):
        PoseCheckpointer(model).load(save(tmp_path, trained))
    assert (
        "2 weights of the file are not in the model and are not loaded: heatmaps.weight, heatmaps.bias"
        in caplog.text
    )
    assert torch.equal(model.keypoints.weight, trained.keypoints.weight)


def backbone_weights(model):
    return dict(model.backbone.bottom_up.state_dict())


def test_backbone_alone(tmp_path, caplog):
    trained, model = Model(), Model()
    head = model.keypoints.weight.clone()
    file = save_weights(tmp_path, {**backbone_weights(trained), "classifier.weight": torch.zeros(1)})
    with caplog.at_level(logging.WARNING, logger="posecore"):
        PoseCheckpointer(model).load(file, strict=False)
    assert equal(backbone_weights(model), backbone_weights(trained))
    assert torch.equal(model.keypoints.weight, head)
    assert (
        "4 weights are missing in the file and keep their initialization: backbone.lateral.weight"
        in caplog.text
    )
    with pytest.raises(CheckpointError, match=r"is incomplete: it lacks backbone.lateral.weight"):
        PoseCheckpointer(model).load(file)


def test_backbone_with_folded_statistics(tmp_path):
    trained, model = Model(), Model()
    trained.backbone.bottom_up.stem["conv1"].norm.weight.fill_(3.0)
    weights = {name: w for name, w in backbone_weights(trained).items() if "running" not in name}
    PoseCheckpointer(model).load(save_weights(tmp_path, weights), strict=False)
    norm = model.backbone.bottom_up.stem["conv1"].norm
    image = torch.rand(1, 2, 3, 3)
    torch.testing.assert_close(norm(image), 3 * image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("blocks", "message"), [(1, r"it lacks .*res2.1"), (3, r"it also has .*res2.2")])
def test_backbone_of_another_depth(tmp_path, blocks, message):
    file = save_weights(tmp_path, backbone_weights(Model(blocks=blocks)))
    with pytest.raises(CheckpointError, match=rf"of another backbone than the model's: {message}"):
        PoseCheckpointer(Model()).load(file, strict=False)


def test_backbone_of_another_width(tmp_path):
    weights = backbone_weights(Model())
    weights["res2.0.weight"] = torch.zeros(5, 2, 1, 1)
    with pytest.raises(CheckpointError, match=r"another backbone.*shapes differ: .*res2.0.weight \(5, 2"):
        PoseCheckpointer(Model()).load(save_weights(tmp_path, weights), strict=False)
