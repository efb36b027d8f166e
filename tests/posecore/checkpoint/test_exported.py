"""Exported models: one file from which a model is built that computes the same."""

import numpy as np
import pytest
import torch
import yaml
from helpers import toy_model  # noqa: F401  (registers the model)
from helpers.dot_dataset import HANDS
from safetensors.torch import load_file

from posecore.checkpoint import exported
from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.checkpoint.exported import export_model, exported_config
from posecore.checkpoint.safetensors_files import ModelHeader, read_header, write_safetensors
from posecore.checkpoint.weights import CheckpointError
from posecore.config import get_cfg
from posecore.config.errors import UsageError
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.data.person_boxes import PersonBoxes
from posecore.inference.predictor import Predictor
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


@pytest.mark.parametrize(("choice", "added"), [("auto", 1), ("averaged", 1), ("trained", 0)])
def test_the_weights_that_evaluations_take_are_exported(tmp_path, choice, added):
    """The file is whole by itself: it holds one set of weights, and no choice among several."""
    model = train_folder(tmp_path / "run", {"TEST": {"WEIGHTS": choice}})
    file = tmp_path / "run" / "model_final.pth"
    content = torch.load(file, weights_only=True)
    averages = {f"module.{name}": weight + 1 for name, weight in content["model"].items()}
    torch.save(content | {"ema": averages | {"n_averaged": torch.tensor(5)}}, file)
    export_model(str(file), tmp_path / "toy.safetensors")
    cfg, again = load(tmp_path / "toy.safetensors")
    assert cfg.TEST.WEIGHTS == "auto"
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight + added)


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
    with pytest.raises(UsageError, match=r"OUT .*toy\.safetensors is read .*would be replaced"):
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


@pytest.mark.parametrize(
    "config", ["_BASE_: /etc/other.yaml\n", "- a list\n", "a: [", "MODEL: !!python/name:os.system\n"]
)
def test_a_configuration_that_others_wrote_leads_to_no_other_file(tmp_path, config):
    write_safetensors({"a": torch.ones(1)}, tmp_path / "a.safetensors", ModelHeader(config, "", {}))
    with (
        pytest.raises(CheckpointError, match=r"a\.safetensors: the configuration in it"),
        exported_config(str(tmp_path / "a.safetensors")),
    ):
        pass


@pytest.mark.parametrize("method", ["fcpose", "poseur"])
def test_methods_predict_the_same_from_their_files(tmp_path, method):
    """A method on whole images, and one on crops of persons."""
    config = CONFIGS / method / "demo" / "synthetic.yaml"
    settings = ["MODEL.WEIGHTS", "random", *CPU]
    before = Predictor.from_config(merge_config(get_cfg(), config, settings))
    with torch.no_grad():
        for parameter in before.model.parameters():
            if parameter.numel() == 1:  # the bias of the class and of the center-ness: some scores are high
                parameter.fill_(1)
    torch.save({"model": before.model.state_dict()}, tmp_path / "model.pth")
    export_model(str(tmp_path / "model.pth"), tmp_path / "model.safetensors", config)
    with exported_config(str(tmp_path / "model.safetensors"), CPU) as cfg:
        after = Predictor.from_config(cfg)
    image = np.random.default_rng(0).integers(0, 256, (75, 101, 3), dtype=np.uint8)
    boxes = PersonBoxes(np.array([[10.0, 5.0, 60.0, 70.0]], np.float32), np.ones(1, np.float32))
    given = boxes if before.samples.needs_boxes else None
    ours, theirs = before(image, given), after(image, given)
    assert len(ours) > 0
    assert torch.equal(ours.pred_keypoints, theirs.pred_keypoints)
    assert torch.equal(ours.scores, theirs.scores)


def test_weights_without_a_configuration(tmp_path):
    train_folder(tmp_path / "run")
    with (
        pytest.raises(CheckpointError, match=r"has no configuration in it: give --config-file"),
        exported_config(str(tmp_path / "run" / "model_final.pth")),
    ):
        pass
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    with (
        pytest.raises(CheckpointError, match=r"broken\.safetensors: it is broken"),
        exported_config(str(tmp_path / "broken.safetensors")),
    ):
        pass
