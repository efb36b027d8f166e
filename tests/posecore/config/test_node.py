"""Configuration files: what they may hold, and that nothing in them is run."""

import os
import time
from pathlib import Path

import pytest
import yaml

from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.config.node import SafeCfgNode
from posecore.config.yaml_text import MAX_DEPTH, load_yaml

TAGS = [
    "!!python/object/apply:os.mkdir [ran]",
    "!!python/object/new:os.mkdir [ran]",
    "!!python/object/apply:os.mkdir {args: [ran]}",
    "!!python/object/new:type {args: [x, !!python/tuple [], {extend: !!python/name:exec }]}",
    "!!python/name:os.mkdir x",
    "!!python/module:os x",
    "!!python/tuple [1, 2]",
    "!unknown x",
]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def by_merge_config(path: Path) -> None:
    merge_config(get_cfg(), path)


def by_merge_from_file(path: Path) -> None:
    get_cfg().merge_from_file(str(path))


def by_merge_from_file_unsafe(path: Path) -> None:
    get_cfg().merge_from_file(str(path), allow_unsafe=True)


def by_clone(path: Path) -> None:
    get_cfg().clone().merge_from_file(str(path))


READERS = [by_merge_config, by_merge_from_file, by_merge_from_file_unsafe, by_clone]


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("as_base", [False, True])
def test_tags_run_nothing(tmp_path, monkeypatch, tag, read, as_base):
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "evil.yaml", f"SOLVER:\n  OPTIMIZER: {tag}\n")
    if as_base:
        file = write(tmp_path / "config.yaml", "_BASE_: evil.yaml\nSEED: 1\n")
    with pytest.raises(UsageError, match=r"evil.yaml must be YAML .*the tag !.* \(line 2, column"):
        read(file)
    assert not os.path.exists("ran")


def test_bases_are_relative_to_the_file_that_names_them(tmp_path):
    (tmp_path / "base").mkdir()
    write(tmp_path / "base" / "first.yaml", "SEED: 1\nSOLVER: {MAX_ITER: 7, BASE_LR: 0.5}\n")
    write(tmp_path / "base" / "second.yaml", "_BASE_: first.yaml\nSOLVER: {MAX_ITER: 8}\n")
    write(tmp_path / "other.yaml", "SEED: 9\n")
    file = write(tmp_path / "config.yaml", "_BASE_: [base/second.yaml, other.yaml]\nTEST: {EVAL_PERIOD: 3}\n")
    cfg = get_cfg()
    cfg.merge_from_file(str(file))
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.TEST.EVAL_PERIOD) == (9, 8, 0.5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_BASE_: config.yaml\n", "leads back to the file itself"),
        ("_BASE_: ./../{folder}/config.yaml\n", "leads back to the file itself"),
        ("_BASE_: null\n", "must name a file or a list of files, not None"),
        ("_BASE_: []\n", "must name a file"),
        ("_BASE_: [1]\n", "must name a file"),
        ("_BASE_: {a: b}\n", "must name a file"),
        ("_BASE_: base.yaml\nSOLVER: {MAX_ITER: 3}\n", "SOLVER is a section here, and a value"),
        ("_BASE_: .\n", "is a folder"),
        ("SEED: 0x\x00\n", "must be YAML"),
        ("SEED: !!int x\n", "must be YAML"),
        ("SEED: 2020-99-99\n", "must be YAML"),
        ("{[a]: 1}\n", "must be YAML"),
        ("SEED: 1\n---\nSEED: 2\n", "must be YAML"),
        ("null\n", "must be YAML of keys and values, not NoneType"),
    ],
)
def test_files_that_are_wrong(tmp_path, text, message):
    write(tmp_path / "base.yaml", "SOLVER: 3\n")
    file = write(tmp_path / "config.yaml", text.replace("{folder}", tmp_path.name))
    for read in READERS[:2]:
        with pytest.raises(UsageError, match=message):
            read(file)


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UsageError, match="must be YAML"):
        by_merge_config(tmp_path / "config.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UsageError, match=r"pipe.yaml is no regular file"):
        by_merge_config(tmp_path / "pipe.yaml")


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(9), "when its aliases are written out"),
        ("a: &a [*a]\n", r"\*a stands in itself"),
        ("a: &a {b: [*a]}\n", r"\*a stands in itself"),
        ("a: &a {b: 1}\nc: {<<: *missing}\n", "undefined alias"),
        ("a: " + "[" * 100_000 + "\n", "nested more than"),
        ("a: " + "[" * 900 + "]" * 900 + "\n", "nested more than"),
        ("a: " + "{b: " * 900 + "\n", "nested more than"),
        ("".join("  " * n + "a:\n" for n in range(200)), "nested more than"),
        ("- " * 5_000 + "\n", "nested more than"),
        ("a: " + "x" * 10_000_001, "characters"),
    ],
)
def test_aliases_and_nesting_have_limits(text, message):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        load_yaml(text)
    assert time.perf_counter() - start < 20


def test_aliases_and_merge_keys_within_the_limits():
    assert load_yaml("a: &a {b: [1, 2]}\nc: {<<: *a, d: *a}\n") == {
        "a": {"b": [1, 2]},
        "c": {"b": [1, 2], "d": {"b": [1, 2]}},
    }
    nested = load_yaml("[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1))
    assert yaml.safe_dump(nested, default_flow_style=True).count("[") == MAX_DEPTH - 1


def test_clone_dump_and_sections_of_users(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["SEED", "4"])
    copy = cfg.clone()
    assert isinstance(copy, SafeCfgNode)
    assert copy == cfg
    write(tmp_path / "config.yaml", copy.dump())
    again = get_cfg()
    again.merge_from_file(str(tmp_path / "config.yaml"))
    assert load_yaml(again.dump()) == load_yaml(cfg.dump())
    from detectron2.config import CfgNode

    cfg.MODEL.OWN = CfgNode({"KEY": 1})
    cfg.merge_from_file(str(write(tmp_path / "own.yaml", "MODEL: {OWN: {KEY: 2}}\n")))
    assert cfg.MODEL.OWN.KEY == 2


def test_numbers_for_keys_that_hold_text(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["OUTPUT_DIR", "2024"])
    assert cfg.OUTPUT_DIR == "2024"
    for text in ("OUTPUT_DIR: 2025\n", 'OUTPUT_DIR: "2025"\n'):
        cfg.merge_from_file(str(write(tmp_path / "config.yaml", text)))
        assert cfg.OUTPUT_DIR == "2025"
    assert merge_config(get_cfg(), "", ["OUTPUT_DIR", "1e3"]).OUTPUT_DIR == "1e3"
    with pytest.raises(ValueError, match="Type mismatch"):
        cfg.merge_from_list(["SEED", "1.5"])


def test_literals_nested_too_deeply_for_python():
    with pytest.raises(UsageError, match=r"command line:.*SEED"):
        merge_config(get_cfg(), "", ["SEED", "-" * 200_000 + "1"])
    with pytest.raises(UsageError, match=r"command line:.*SEED"):
        merge_config(get_cfg(), "", ["SEED", "(" * 200_000])
