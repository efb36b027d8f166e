"""What a mistyped command line is answered."""

import logging

import pytest
import torch
import yaml
from helpers.support import core_cfg

from posecore.config.merge import UsageError, merge_config
from posecore.engine.setup import set_up_process


def write(path, **content):
    path.write_text(yaml.safe_dump(content))
    return path


def test_file_then_overrides(tmp_path):
    base = write(tmp_path / "base.yaml", SOLVER={"BASE_LR": 0.5, "MAX_ITER": 7})
    file = write(tmp_path / "config.yaml", _BASE_=base.name, SOLVER={"MAX_ITER": 8}, SEED=3)
    cfg = merge_config(core_cfg(), file, ["SEED", "4", "DATASETS.TRAIN", "('a', 'b')"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SEED) == (0.5, 8, 4)
    assert cfg.DATASETS.TRAIN == ("a", "b")
    assert cfg.is_frozen()


def test_no_file():
    assert merge_config(core_cfg(), "", ["SEED", "4"]).SEED == 4


@pytest.mark.parametrize(("given", "taken"), [("2", 2.0), ("-1", -1.0), ("0.5", 0.5), ("1e-3", 1e-3)])
def test_a_whole_number_is_a_float_where_one_is_wanted(given: str, taken: float) -> None:
    rate = merge_config(core_cfg(), "", ["SOLVER.BASE_LR", given]).SOLVER.BASE_LR
    assert rate == taken
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["MODEL.FCOS.NROM", "GN"],
            r"command line: unknown config key MODEL.FCOS.NROM; near it: MODEL.FCOS.NORM",
        ),
        (
            ["SOLVER.SCORE_THRESH", "0.1"],
            r"unknown config key SOLVER.SCORE_THRESH; near it:.*MODEL.FCOS.SCORE_THRESH",
        ),
        (["QUITE.ANOTHER_THING", "1"], r"unknown config key QUITE$"),
        (["SOLVER.BASE_LR.X", "1"], r"unknown config key SOLVER.BASE_LR.X; near it: SOLVER.BASE_LR"),
        (["SOLVER.MAX_ITER", "many"], r"command line:.*SOLVER.MAX_ITER"),
        (["SOLVER.MAX_ITER"], r"'SOLVER.MAX_ITER' has no value"),
        (["SEED", "1", "--num-gpus", "2"], r"--num-gpus must come before the KEY VALUE pairs"),
        (["SEED", "1", "--resume"], r"--resume must come before"),
    ],
)
def test_wrong_overrides(overrides, message):
    with pytest.raises(UsageError, match=message):
        merge_config(core_cfg(), "", overrides)


def test_unknown_key_in_a_file(tmp_path):
    file = write(tmp_path / "config.yaml", MODEL={"FCOS": {"NUM_CONV": 2}})
    with pytest.raises(
        UsageError,
        match=r"config.yaml: unknown config key MODEL.FCOS.NUM_CONV; near it:.* MODEL.FCOS.NUM_CONVS",
    ):
        merge_config(core_cfg(), file)


def test_missing_file_names_its_neighbors(tmp_path):
    write(tmp_path / "directpose_r50.yaml")
    with pytest.raises(UsageError, match=r"directpose_r51.yaml does not exist; near it: directpose_r50.yaml"):
        merge_config(core_cfg(), tmp_path / "directpose_r51.yaml")


def test_missing_base_file(tmp_path):
    file = write(tmp_path / "config.yaml", _BASE_="Base.yaml")
    with pytest.raises(UsageError, match=r"Base.yaml does not exist"):
        merge_config(core_cfg(), file)


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "a: [1", "!!python/name:os.system x", "just words"])
def test_files_that_are_no_configuration(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config.yaml must be YAML of keys and values"):
        merge_config(core_cfg(), file)


def test_value_of_a_wrong_type_in_a_file(tmp_path):
    file = write(tmp_path / "config.yaml", SOLVER={"BASE_LR": "fast"})
    with pytest.raises(UsageError, match=r"config.yaml:.*SOLVER.BASE_LR"):
        merge_config(core_cfg(), file)


def test_set_up_writes_config_and_log_and_seeds(tmp_path):
    cfg = merge_config(core_cfg(), "", ["OUTPUT_DIR", str(tmp_path / "new" / "folder"), "SEED", "5"])
    set_up_process(cfg)
    first = torch.rand(3)
    set_up_process(cfg)
    assert torch.equal(first, torch.rand(3))
    written = merge_config(core_cfg(), tmp_path / "new" / "folder" / "config.yaml")
    assert (written.SEED, written.OUTPUT_DIR, written.MODEL.FCOS.NORM) == (5, cfg.OUTPUT_DIR, "GN")
    logging.getLogger("posecore.anything").info("a line")
    assert "a line" in (tmp_path / "new" / "folder" / "log.txt").read_text()
