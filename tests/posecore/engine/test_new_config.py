"""The proposed configuration of a dataset: its values, and that every method trains with it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from helpers.loggers import own_loggers

from posecore.checkpoint.checkpointer import PoseCheckpointer
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.config.repository import CONFIGS
from posecore.data.synthetic import make_dataset
from posecore.engine import new_config, starting_weights
from posecore.engine.data_statistics import DataStatistics
from posecore.engine.dry_run import dry_run
from posecore.engine.machine import Machine
from posecore.engine.new_config import METHODS, crop_size, propose_config
from posecore.engine.proposed_config import ProposedConfig
from posecore.engine.starting_weights import find_weights
from posecore.modeling.build import build_model
from posecore.structures.skeleton import load_skeleton

FISH = {
    "name": "fish",
    "keypoints": ["nose", "left_fin", "right_fin", "back", "tail"],
    "flip_pairs": [["left_fin", "right_fin"]],
    "limbs": [["nose", "back"], ["back", "tail"]],
    "sigmas": [0.05] * 5,
}


def dataset(folder: Path, skeleton: str | Path, splits: tuple[str, ...] = ("train", "val")) -> Path:
    for split in splits:
        make_dataset(folder, num_images=4, size=(64, 64), skeleton=skeleton, split=split, people=(1, 2))
    return folder


@pytest.fixture
def logs(monkeypatch):
    yield from own_loggers(monkeypatch)


@pytest.fixture(scope="module")
def fish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fish")
    (folder / "fish.yaml").write_text(yaml.safe_dump(FISH))
    return dataset(folder, folder / "fish.yaml")


def written(config: ProposedConfig, folder: Path) -> Path:
    file = folder / "config.yaml"
    file.write_text(config.text())
    return file


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_five_keypoints(fish, tmp_path, method, monkeypatch, logs):
    monkeypatch.chdir(tmp_path)
    file = written(propose_config(fish, method, size="small", device="cpu"), tmp_path)
    fast = ["SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0", "TEST.NUM_PREVIEWS", "0"]
    result = dry_run(str(file), fast)
    assert result.losses["total_loss"] > 0
    assert [trial.images for trial in result.test] == [4]
    assert not list(tmp_path.glob("output"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", ["small", "full"])
def test_every_value_has_a_reason_and_a_key(fish, tmp_path, method, size):
    config = propose_config(fish, method, size=size, device="cpu")
    text = config.text()
    cfg = merge_config(get_cfg(), written(config, tmp_path))
    for key, (value, reason) in config.values.items():
        node = cfg
        for part in key.split("."):
            node = node[part]
        assert (list(node) if isinstance(value, tuple) else node) == (
            list(value) if isinstance(value, tuple) else value
        )
        assert len(reason) > 5
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r" *\w+: \S", line) and not line.startswith("VERSION"):
            assert lines[number - 1].lstrip().startswith("#"), line
    assert cfg.SOLVER.WARMUP_ITERS < cfg.SOLVER.MAX_ITER
    assert all(step < cfg.SOLVER.MAX_ITER for step in config.values.get("SOLVER.STEPS", ((),))[0])


def test_keys_depend_on_the_number_of_keypoints(tmp_path):
    whole = dataset(tmp_path, "coco_wholebody_133", ("train",))
    config = propose_config(whole, "directpose", size="full", device="cpu")
    few = propose_config(whole, "poseur", size="full", device="cpu")
    assert config.values["MODEL.DIRECTPOSE.GROUP_CHANNELS"][0] < 64
    assert "133 keypoints" in config.text()
    # There is no val.yaml.
    assert config.values["DATASETS.TEST"][0] == ()
    assert few.values["TEST.EVAL_PERIOD"][0] == 0


def test_the_batch_fits_the_memory_and_the_data(fish, monkeypatch):
    for memory, images in ((2**40, 4), (2**23, 1)):
        machine = Machine("cpu", memory, 8)
        monkeypatch.setattr(new_config, "find_machine", lambda device, machine=machine: machine)
        config = propose_config(fish, "fcpose", size="small", device="cpu")
        assert config.values["SOLVER.IMS_PER_BATCH"][0] == images
    assert config.values["SOLVER.BASE_LR"][0] == pytest.approx(0.001 / 4)


def test_a_trained_model_is_trained_further_at_a_lower_rate(tmp_path, monkeypatch):
    folder = dataset(tmp_path, "lsp_14")
    further = propose_config(folder, "fcpose", size="small", device="cpu")
    monkeypatch.setattr(starting_weights, "list_models", list)
    first = propose_config(folder, "fcpose", size="small", device="cpu")
    assert further.values["MODEL.WEIGHTS"][0] == "model://fcpose_lite0_lsp"
    assert further.values["MODEL.FCOS.SIZE_RANGES"][0] == (32, 64)
    rates = [config.values["SOLVER.BASE_LR"][0] for config in (further, first)]
    assert rates[0] == pytest.approx(0.3 * rates[1])


def test_boxes_without_a_size_are_not_used(fish, tmp_path):
    for name in ("train", "val"):
        text = (fish / f"{name}.yaml").read_text()
        content = json.loads((fish / "annotations" / f"{name}.json").read_text())
        for person in content["annotations"]:
            person["bbox"][3] = 0
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        (tmp_path / f"{name}.yaml").write_text(text.replace("annotations/", "").replace("synthetic", "thin"))
    (tmp_path / "fish.yaml").write_text(yaml.safe_dump(FISH))
    config = propose_config(tmp_path, "fcpose", size="small", device="cpu")
    assert config.values["INPUT.BOXES"][0] == "keypoints"


def statistics(lengths: tuple[float, float, float, float], shorter: float = 200) -> DataStatistics:
    return DataStatistics(100, 100, shorter, 1.5, lengths, 1.0, 1, False, False)


@pytest.mark.parametrize(
    ("lengths", "ranges"),
    [
        # Thirds of persons of many sizes; persons of one size are on P4, its borders a factor 2 apart.
        ((50, 100, 200, 400), (64, 240)),
        ((100, 118, 120, 122), (48, 104)),
        ((1, 1, 1, 1), (16, 32)),
    ],
)
def test_size_ranges_are_never_nearly_equal(lengths, ranges):
    assert new_config._size_ranges(1.0, statistics(lengths)) == ranges


def test_large_persons_make_images_smaller_for_a_cpu():
    # Nine of ten persons are longer than 128 pixels: half of that is enough.
    assert new_config._scale(statistics((128, 150, 160, 170)), "small") == (0.64, 128)
    assert new_config._scale(statistics((128, 150, 160, 170)), "full")[1] == 224
    assert new_config._scale(statistics((24, 30, 40, 50)), "small")[1] == 320


def test_trainings_start_from_the_models_of_the_project(monkeypatch):
    base = merge_config(get_cfg(), CONFIGS / METHODS["fcpose"].small, ["MODEL.DEVICE", "cpu"])
    whole = find_weights(base, load_skeleton("lsp_14"))
    assert (whole.source, whole.size_ranges) == ("model://fcpose_lite0_lsp", (32, 64))
    for method in ("fcpose", "poet"):
        base = merge_config(get_cfg(), CONFIGS / METHODS[method].small, ["MODEL.DEVICE", "cpu"])
        backbone = find_weights(base, load_skeleton("coco_17"))
        assert (backbone.source, backbone.is_whole) == ("backbone://model://fcpose_lite0_lsp", False)
        PoseCheckpointer(build_model(base)).load(backbone.source, strict=False)
    monkeypatch.setattr(starting_weights, "list_models", list)
    assert find_weights(base, load_skeleton("lsp_14")).source in ("package://efficientnet_lite0", "")


def test_layers_without_weights_are_not_frozen(tmp_path, monkeypatch):
    folder = dataset(tmp_path, "lsp_14", ("train",))
    assert "MODEL.TIMM.FREEZE_STRIDE" not in propose_config(folder, "fcpose", device="cpu").values
    monkeypatch.setattr(starting_weights, "list_models", list)
    monkeypatch.setattr(starting_weights, "find_spec", lambda module: None)
    values = propose_config(folder, "fcpose", device="cpu").values
    assert (values["MODEL.WEIGHTS"][0], values["MODEL.TIMM.FREEZE_STRIDE"][0]) == ("", 0)


@pytest.mark.parametrize(
    ("ratio", "area", "size"),
    [(1.0, 128 * 128, (128, 128)), (4 / 3, 256 * 192, (256, 192)), (0.1, 128 * 128, (96, 192))],
)
def test_crops_have_the_shape_of_boxes(ratio, area, size):
    assert crop_size(ratio, area) == size


def test_errors_name_what_is_wrong(fish, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--dataset .* has no train\.yaml"):
        propose_config(tmp_path, "fcpose")
    with pytest.raises(UsageError, match="--method must be one of directpose, fcpose"):
        propose_config(fish, "yolo")
    with pytest.raises(ValueError, match="no GPU" if not _has_gpu() else "GPUs"):
        propose_config(fish, "fcpose", device="cuda:99")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
