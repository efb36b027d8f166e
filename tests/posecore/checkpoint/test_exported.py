"""Exported models: one file from which a model is built that computes the same."""

import pytest
import torch
import yaml
from helpers import toy_model  # noqa: F401  (registers the model)
from helpers.dot_dataset import HANDS
from safetensors.torch import load_file

from posecore.checkpoint import exported
from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.exported import export_model, exported_config
from posecore.checkpoint.safetensors_files import read_header
from posecore.checkpoint.weights import CheckpointError
from posecore.config import get_cfg
from posecore.config.errors import UsageError
from posecore.config.merge import merge_config
from posecore.modeling.build import build_model

CPU = ["MODEL.DEVICE", "cpu"]


def train_folder(folder, settings=None):
    """A folder that a training of the toy model leaves: model_final.pth and config.yaml."""
    folder.mkdir()
    (folder / "hands.yaml").write_text(yaml.safe_dump(HANDS))
    config = {
        "MODEL": {"META_ARCHITECTURE": "ToyPose", "WEIGHTS": str(folder / "first.pth"), "DEVICE": "cpu"},
        "INPUT": {"FORMAT": "RGB", "MIN_SIZE_TEST": 96, "CROPS": {"BOX_FILES": [str(folder / "boxes.json")]}},
        "DATASETS": {"SKELETON": str(folder / "hands.yaml"), "TRAIN": ["mine"]},
        "TEST": {"DETECTIONS_PER_IMAGE": 3},
        "SOLVER": {"MAX_ITER": 7},
        "OUTPUT_DIR": str(folder),
        **(settings or {}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    model = build_model(merge_config(get_cfg(), folder / "config.yaml", CPU))
    torch.save({"model": model.state_dict(), "iteration": 6}, folder / "model_final.pth")
    return model.eval()


def poses(model, image):
    with torch.no_grad():
        (result,) = model([{"image": image, "height": 60, "width": 80}])
    return result["instances"].pred_keypoints


def load(file):
    with exported_config(str(file), CPU) as cfg:
        model = build_model(cfg)
    PoseCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    return cfg, model.eval()


@pytest.mark.parametrize("half", [False, True])
def test_the_file_alone_makes_the_model(tmp_path, half):
    model = train_folder(tmp_path / "run")
    out = tmp_path / "new" / "toy.safetensors"
    assert export_model(str(tmp_path / "run" / "model_final.pth"), out, half=half) == 2
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    cfg, again = load(out)
    image = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8).float()
    assert {weight.dtype for weight in again.state_dict().values()} == {torch.float32}
    stored = {weight.dtype for weight in load_file(out).values()}
    assert stored == {torch.float16 if half else torch.float32}
    close = {"rtol": 1e-2, "atol": 1e-1} if half else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(poses(again, image), poses(model, image), **close)
    assert again.skeleton == model.skeleton
    assert (cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.TEST.DETECTIONS_PER_IMAGE) == ("RGB", 96, 3)


def test_only_what_prediction_reads_is_in_the_file(tmp_path):
    train_folder(tmp_path / "run")
    export_model(str(tmp_path / "run" / "model_final.pth"), tmp_path / "toy.safetensors")
    header = read_header(tmp_path / "toy.safetensors")
    assert yaml.safe_load(header.config) == {
        "VERSION": 2,
        "MODEL": {"META_ARCHITECTURE": "ToyPose"},
        "INPUT": {"FORMAT": "RGB", "MIN_SIZE_TEST": 96},
        "TEST": {"DETECTIONS_PER_IMAGE": 3},
    }
    assert yaml.safe_load(header.skeleton)["keypoints"] == HANDS["keypoints"]
    assert header.versions["torch"] == torch.__version__
    assert str(tmp_path).encode() not in (tmp_path / "toy.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["coco_17", "coco_wholebody_133"])
def test_built_in_skeletons_are_kept_whole(tmp_path, name):
    model = train_folder(tmp_path / "run", {"DATASETS": {"SKELETON": name}})
    export_model(str(tmp_path / "run" / "model_final.pth"), tmp_path / "toy.safetensors")
    assert load(tmp_path / "toy.safetensors")[1].skeleton == model.skeleton


def test_buffers_keep_their_bits(tmp_path, monkeypatch):
    model = train_folder(tmp_path / "run")
    model.register_buffer("running_var", torch.tensor([1e-9, 1e9]))
    torch.save({"model": model.state_dict()}, tmp_path / "run" / "model_final.pth")
    monkeypatch.setattr(exported, "build_model", lambda cfg: model)
    export_model(str(tmp_path / "run" / "model_final.pth"), tmp_path / "toy.safetensors", half=True)
    assert torch.equal(load_file(tmp_path / "toy.safetensors")["running_var"], torch.tensor([1e-9, 1e9]))


def test_overrides_come_last(tmp_path):
    train_folder(tmp_path / "run")
    export_model(str(tmp_path / "run" / "model_final.pth"), tmp_path / "toy.safetensors")
    with exported_config(str(tmp_path / "toy.safetensors"), [*CPU, "INPUT.MIN_SIZE_TEST", "64"]) as cfg:
        assert cfg.INPUT.MIN_SIZE_TEST == 64
    with (
        pytest.raises(UsageError, match=r"unknown config key INPUT\.SIZE"),
        exported_config(str(tmp_path / "toy.safetensors"), [*CPU, "INPUT.SIZE", "64"]),
    ):
        pass


def test_bad_input_is_refused_and_nothing_is_written(tmp_path):
    model = train_folder(tmp_path / "run")
    source, out = tmp_path / "run" / "model_final.pth", tmp_path / "toy.safetensors"

    def refused(error, message, source=source, out=out, **options):
        with pytest.raises(error, match=message):
            export_model(str(source), out, **options)
        assert not (tmp_path / "toy.safetensors").exists()
        assert not list(tmp_path.glob("*.part"))

    refused(UsageError, r"OUT .*toy\.pth must end in \.safetensors", out=tmp_path / "toy.pth")
    refused(CheckpointError, r"gone\.pth: the file does not exist", source=tmp_path / "run" / "gone.pth")
    (tmp_path / "alone.pth").write_bytes(source.read_bytes())
    refused(UsageError, r"config\.yaml does not exist: give the configuration", source=tmp_path / "alone.pth")
    state = model.state_dict()
    for value, error, message, half in (
        (1e9, UsageError, r"regress\.bias has numbers above 65504.*without --half", True),
        (float("nan"), CheckpointError, r"regress\.bias is not finite", False),
    ):
        torch.save({"model": {**state, "regress.bias": torch.full((6,), value)}}, source)
        refused(error, message, half=half)
    torch.save({"model": {"regress.weight": torch.ones(6, 12)}}, source)
    refused(UsageError, r"(?s)model_final\.pth does not fit the model of .*config\.yaml: .*regress\.bias")


def test_a_model_is_not_exported_onto_itself(tmp_path):
    train_folder(tmp_path / "run")
    out = tmp_path / "toy.safetensors"
    export_model(str(tmp_path / "run" / "model_final.pth"), out)
    with pytest.raises(UsageError, match="is the checkpoint itself"):
        export_model(str(out), out, tmp_path / "run" / "config.yaml")
    # Its 16 bits may be written to another file.
    export_model(str(out), tmp_path / "half.safetensors", tmp_path / "run" / "config.yaml", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < out.stat().st_size


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    train_folder(tmp_path / "run")
    (tmp_path / "toy.safetensors").write_text("an earlier model")

    def fail(weights, file, header):
        file.write_text("a part")
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(exported, "write_safetensors", fail)
    with pytest.raises(OSError, match="No space left"):
        export_model(str(tmp_path / "run" / "model_final.pth"), tmp_path / "toy.safetensors")
    assert (tmp_path / "toy.safetensors").read_text() == "an earlier model"
    assert not list(tmp_path.glob("*.part"))


def test_weights_without_a_configuration(tmp_path):
    train_folder(tmp_path / "run")
    for source in (tmp_path / "run" / "model_final.pth",):
        with (
            pytest.raises(CheckpointError, match=r"has no configuration in it: give --config-file"),
            exported_config(str(source)),
        ):
            pass
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    with (
        pytest.raises(CheckpointError, match=r"broken\.safetensors: it is broken"),
        exported_config(str(tmp_path / "broken.safetensors")),
    ):
        pass
