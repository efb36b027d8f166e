"""Forged configurations in number: nothing in them runs, nothing hangs, and each error is one sentence.

`make test` tries some of each kind, `make attack` thousands.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from helpers.changed_bytes import changed_bytes

from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.config.repository import CONFIGS

TRIES = int(os.environ.get("POSECORE_ATTACK_CONFIGS", 160))
SECONDS = 120  # that a single file may take
WAYS = ("merge_config", "merge_from_file")
FUNCTIONS = ("os.mkdir", "os.system", "posix.mkdir", "builtins.exec", "subprocess.check_call", "os.makedirs")
TAGS = (
    "!!python/object/apply:{f} [ran]",
    "!!python/object/apply:{f} {{args: [ran], kwds: {{}}}}",
    "!!python/object/new:{f} [ran]",
    "!!python/object/new:{f} {{args: [ran], state: {{a: 1}}, listitems: [1], dictitems: {{b: 2}}}}",
    "!!python/object:{f} {{a: 1}}",
    "!!python/name:{f} x",
    "!!python/name:{f}",
    "!!python/module:{f}",
    "!!python/tuple [1, 2]",
    "!!python/str ran",
    "!!python/unicode ran",
    "!!python/bytes cmFu",
    "!!python/complex 1+2j",
    "!!python/long 1",
    "!!python/none x",
    "!!python/list [1]",
    "!!python/dict {{a: 1}}",
    "!<tag:yaml.org,2002:python/object/apply:{f}> [ran]",
    "!!python/object/new:type {{args: [x, !!python/tuple [], {{extend: !!python/name:exec }}]}}",
    "!{f} [ran]",
)
# Tags of YAML itself at values that they do not fit.
PLAIN_TAGS = (
    "!!bool x",
    "!!int x",
    "!!int ''",
    "!!float x",
    "!!float ''",
    "!!timestamp x",
    "2024-13-45",
    "2024-01-01",
    "!!binary é",
    "!!binary cmFu",
    "!!set {a, b}",
    "!!set [a]",
    "!!omap [a: 1]",
    "!!omap x",
    "!!pairs [a]",
    "!!str [a]",
    "!!map x",
    "!!seq x",
    "=",
    "!!null x",
    "!!merge x",
    "190:20:30",
    "0o17",
    "!",
    "!!",
    "&a",
    "*a",
    "%",
    "@a",
)
VALUES = (
    "null",
    "true",
    "-1",
    "0",
    "1e300",
    ".nan",
    ".inf",
    "-.inf",
    "''",
    "x",
    "'1'",
    "[]",
    "[null]",
    "[x]",
    "[1, x]",
    "[.nan]",
    "[[1]]",
    "[true]",
    "[{a: 1}]",
    "{}",
    "{a: 1}",
    "{DEVICE: cpu}",
    "'{}'",
    "\"{'a': 1}\"",
    "'{[]: 1}'",
    "'{{}}'",
    "\"('x',)\"",
    "'None'",
    "1" * 400,
    "1" * 5000,
    "'" + "9" * 5000 + "'",
    "'" + "(" * 3000 + "'",
    "'1e999'",
    "'b\"x\"'",
    "'1+2j'",
    "\"__import__('os').mkdir('ran')\"",
    '"\\0"',
    '"a\\nb"',
)
KEYS = (
    "''",
    "null",
    "1",
    "1.5",
    "true",
    "[a, b]",
    "{a: b}",
    "? [a]",
    "<<",
    "__class__",
    "MODEL.DEVICE",
    "'a.b'",
)


def all_keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    """The keys of sections and of values."""
    for key, value in cfg.items():
        yield f"{prefix}{key}"
        if isinstance(value, CfgNode):
            yield from all_keys(value, f"{prefix}{key}.")


DEFAULTS = get_cfg()
ALL_KEYS = sorted(all_keys(DEFAULTS))


def nested(key: str, value: str) -> str:
    """``A.B``, v -> {A: {B: v}} as YAML in one line."""
    for part in reversed(key.split(".")):
        value = f"{{{part}: {value}}}"
    return value


def tag_files(rng: random.Random, folder: Path) -> None:
    tag = rng.choice(TAGS).format(f=rng.choice(FUNCTIONS))
    place = rng.choice(["{t}", "SOLVER: {t}", "SEED: {t}", "_BASE_: {t}", "_BASE_: [{t}]", "? {t}\n: 1"])
    text = rng.choice([place, "INPUT: {{MIN_SIZE_TRAIN: [1, {t}]}}", "a: &x {t}\nb: *x", "<<: {t}"]).format(
        t=tag
    )
    (folder / "forged.yaml").write_text(text + "\n")
    if rng.random() < 0.3:
        (folder / "forged.yaml").rename(folder / "base.yaml")
        (folder / "forged.yaml").write_text("_BASE_: base.yaml\n")


def plain_tag_files(rng: random.Random, folder: Path) -> None:
    value = rng.choice(PLAIN_TAGS)
    place = rng.choice(
        ["SEED: {v}", "OUTPUT_DIR: {v}", "SOLVER: {v}", "{v}: 1", "DATASETS: {{TRAIN: [{v}]}}", "{v}"]
    )
    (folder / "forged.yaml").write_text(place.format(v=value) + "\n", encoding="utf-8")


def value_files(rng: random.Random, folder: Path) -> None:
    text = nested(rng.choice(ALL_KEYS), rng.choice(VALUES))
    if rng.random() < 0.1:
        text = f"{rng.choice(KEYS)}: {rng.choice(VALUES)}"
    (folder / "forged.yaml").write_text(text + "\n")


def changed_files(rng: random.Random, folder: Path) -> None:
    data = changed_bytes(rng.choice(sorted(CONFIGS.glob("*/*.yaml"))).read_bytes(), rng)
    (folder / "forged.yaml").write_bytes(data.replace(b"../Base", f"{CONFIGS}/Base".encode()))


def deep_files(rng: random.Random, folder: Path) -> None:
    depth = rng.choice([40, 49, 51, 1000, 20_000])
    few = min(depth, 900)
    text = rng.choice(
        [
            "SOLVER: " + "[" * depth + "]" * depth,
            "SOLVER: " + "[" * depth,
            "{a: " * few + "1" + "}" * few,
            "".join(f"{' ' * level}a:\n" for level in range(few)),
            "- " * few + "1",
            "? " * few + "1",
            "".join(
                f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(depth % 37 + 2)
            ),
            "".join(
                f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9) if n else '{}'}]}}\n" for n in range(12)
            ),
            "a: &a [*a]",
            "a: &a {<<: *a}",
            "&a a: *a",
            "a: *b",
            "SEED: [" + "1, " * (depth * 3) + "]",
            "SEED: " + "1" * depth,
            "".join(f"k{n}: {n}\n" for n in range(few)),
            "---\n" * few,
            "OUTPUT_DIR: " + "x" * 100 * depth,
        ]
    )
    (folder / "forged.yaml").write_text(text)


def base_files(rng: random.Random, folder: Path) -> None:
    forged = folder / "forged.yaml"
    kind = rng.randrange(12)
    if kind == 0:  # a circle of some files
        count = rng.randint(1, 6)
        for number in range(count):
            (folder / f"b{number}.yaml").write_text(f"_BASE_: b{(number + 1) % count}.yaml\n")
        forged.write_text("_BASE_: b0.yaml\n")
    elif kind == 1:  # each names the next one twice: 2^n files
        count = rng.choice([3, 12, 18, 60])
        for number in range(count):
            (folder / f"b{number}.yaml").write_text(f"_BASE_: [b{number + 1}.yaml, ./b{number + 1}.yaml]\n")
        (folder / f"b{count}.yaml").write_text("SEED: 1\n")
        forged.write_text("_BASE_: b0.yaml\n")
    elif kind == 2:  # a long chain
        count = rng.choice([5, 19, 30, 300])
        for number in range(count):
            (folder / f"b{number}.yaml").write_text(f"_BASE_: b{number + 1}.yaml\n")
        (folder / f"b{count}.yaml").write_text("SEED: 1\n")
        forged.write_text("_BASE_: b0.yaml\n")
    elif kind == 3:  # a circle whose paths grow
        (folder / "loop").symlink_to(".")
        forged.write_text("_BASE_: loop/forged.yaml\n")
    elif kind == 4:
        os.mkfifo(folder / "fifo.yaml")
        forged.write_text("_BASE_: fifo.yaml\n")
    elif kind == 5:
        os.mkfifo(forged)
    elif kind == 6:
        forged.symlink_to(
            rng.choice(["/dev/zero", "/dev/tty", "/dev/null", "forged.yaml", "/nowhere", "/", "."])
        )
    elif kind == 7:
        forged.mkdir()
    else:
        base = rng.choice(
            [
                "/dev/zero",
                "/dev/stdin",
                ".",
                "..",
                "''",
                "1",
                "null",
                "[]",
                "[1]",
                "{a: b}",
                '"\\0"',
                "x" * 5000,
                "~nobody/x.yaml",
                "file:///etc/passwd",
                "/etc/passwd",
                "gone.yaml",
                "[gone.yaml, gone.yaml]",
                ".nan",
            ]
        )
        forged.write_text(f"_BASE_: {base}\n")


def encoded_files(rng: random.Random, folder: Path) -> None:
    text = rng.choice(
        ["OUTPUT_DIR: déjà\n", "é: 1\n", "SEED: 1\n", "OUTPUT_DIR: 'a\0b'\n", "SEED: 1\x85\n", "\t\n"]
    )
    encoding = rng.choice(
        ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-7"]
    )
    data = text.encode(encoding, "replace")
    if rng.random() < 0.4:
        data += rng.randbytes(rng.randint(1, 200))
    (folder / "forged.yaml").write_bytes(data)


KINDS: dict[str, Callable[[random.Random, Path], None]] = {
    "tags": tag_files,
    "tags of YAML": plain_tag_files,
    "values": value_files,
    "changed files": changed_files,
    "nested and repeated": deep_files,
    "bases": base_files,
    "encodings": encoded_files,
}


def overrides(rng: random.Random) -> list[str]:
    """A key and a value of the command line, both maybe wrong."""
    key = (
        rng.choice(ALL_KEYS)
        if rng.random() < 0.85
        else rng.choice([*KEYS, "", ".", "MODEL.", ".MODEL", "A" * 9999])
    )
    value = rng.choice(VALUES)
    return [key, value.strip("'\"") if rng.random() < 0.7 else value]


@pytest.fixture
def alarm() -> Iterator[None]:
    """A try that takes longer than SECONDS fails."""

    def fail(*_: object) -> None:
        pytest.fail(f"a file took more than {SECONDS} seconds")  # which nothing takes for an error of its own

    before = signal.signal(signal.SIGALRM, fail)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def ending(way: str, file: Path | str, given: list[str]) -> str:
    """What reading ends with: "read" or the message of an error of the kinds that tools show as one line."""
    cfg = DEFAULTS.clone()
    try:
        if way == "merge_config":
            merge_config(cfg, file, given)
        else:
            cfg.merge_from_file(str(file))
    except UsageError as error:
        return str(error)
    except (KeyError, ValueError, OSError) as error:
        if way == "merge_config":
            raise
        return str(error)
    except AssertionError as error:
        if way == "merge_config" or "does not exist" not in str(error):
            raise
        return str(error)
    cfg.dump()
    return "read"


@pytest.mark.parametrize("kind", KINDS)
def test_files(tmp_path, monkeypatch, alarm, kind):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(kind)
    ends = Counter()
    longest = 0.0
    # Those that are nested and repeated take seconds, because PyYAML reads them to their limits.
    share = 5 if kind == "nested and repeated" else 1
    for number in range(max(4, TRIES // (len(KINDS) + 1) // share)):
        folder = tmp_path / str(number)
        folder.mkdir()
        KINDS[kind](rng, folder)
        for way in WAYS:
            signal.alarm(SECONDS)
            since = time.monotonic()
            said = ending(way, folder / "forged.yaml", [])
            longest = max(longest, time.monotonic() - since)
            ends["read" if said == "read" else "refused"] += 1
            if said != "read" and way == "merge_config":
                # The file, one of its bases, or the key that is settled when all files are merged.
                assert any(name in said for name in ("config file", str(folder), "MODEL.DEVICE")), said
                assert len(said) < 2000, said[:3000]
    signal.alarm(0)
    assert not list(tmp_path.glob("ran*"))
    assert ends["refused"]
    print(f"\nattack: forged configurations, {kind}: {dict(ends)}, longest {longest:.1f} s, nothing run")


def test_overrides(tmp_path, monkeypatch, alarm):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    ends = Counter()
    for _ in range(max(4, TRIES // (len(KINDS) + 1))):
        given = overrides(rng)
        signal.alarm(SECONDS)
        said = ending("merge_config", "", given)
        ends["read" if said == "read" else "refused"] += 1
        if said != "read":
            assert "command line" in said or given[0].strip("'") in said, (said, given)
    signal.alarm(0)
    assert not list(tmp_path.glob("ran*"))
    print(f"\nattack: forged overrides: {dict(ends)}, nothing run")
