"""Reports versions, GPUs and operators for bug reports: ``python -m posecore.env``.

It also runs if the operators are not compiled. ``python -m posecore.env --checkpoint FILE`` prints what a
checkpoint records of its training, a :class:`TrainingRecord`.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points, version
from pathlib import Path
from typing import Any

import torch

import posecore
from posecore.config import METHODS
from posecore.config.errors import UsageError, some
from posecore.config.repository import REPOSITORY
from posecore.structures.skeleton import Skeleton

PACKAGES = (
    "numpy",
    "pillow",
    "opencv-python-headless",
    "scipy",
    "timm",
    "safetensors",
    "fvcore",
    "pycocotools",
    "hotcoco",
    "pydantic",
)
DEVICES = ("CPU", "CUDA")
# The entry of a checkpoint that holds its record.
RECORD = "record"


@dataclass(frozen=True)
class TrainingRecord:
    """What a checkpoint says of the training that saved it; all of it plain values.

    Attributes:
        versions: by the names of packages, Python's among them.
        commit: of the checkout; "" if it is none of git. "with changes" stands behind it if files differ.
        config: the whole configuration, as YAML.
        skeleton: its name, keypoints, flip pairs and so on.
    """

    versions: dict[str, str]
    commit: str
    config: str
    skeleton: dict[str, Any]

    @classmethod
    def of(cls, config: str, skeleton: Skeleton) -> "TrainingRecord":
        """The record of a training that this process makes."""
        return cls(versions(), git_commit(), config, asdict(skeleton))

    @classmethod
    def read(cls, content: Mapping[str, Any], file: str) -> "TrainingRecord":
        """The record in the content of a checkpoint.

        Raises:
            UsageError: there is none, or it is broken.
        """
        record = content.get(RECORD)
        kinds = {"versions": dict, "commit": str, "config": str, "skeleton": dict}
        if record is None:
            raise UsageError(
                f"{file} records no training: it holds {some(content)}; checkpoints of train_net.py have a "
                "record since version 0.1.0"
            )
        if not isinstance(record, Mapping) or any(
            not isinstance(record.get(name), kind) for name, kind in kinds.items()
        ):
            raise UsageError(f"{file}: its record is broken: it must have {', '.join(kinds)}")
        return cls(**{name: record[name] for name in kinds})

    def describe(self, iteration: object) -> str:
        """The record as text; versions that differ from those installed here are named with both."""
        here = versions()
        rows = [
            ("iteration", str(iteration)),
            ("commit", self.commit or "not known"),
            *((name, _beside(version, here.get(name))) for name, version in self.versions.items()),
            ("skeleton", _describe_skeleton(self.skeleton)),
        ]
        return f"{_table(rows)}\nconfiguration:\n{self.config.rstrip()}"


def describe() -> str:
    """The report: lines of names and values, then the operators with their devices."""
    load_error = _load_operators()
    rows = [
        ("posecore", f"{posecore.__version__}, methods: {_methods()}"),
        ("Python", f"{platform.python_version()}, {platform.platform()}"),
        ("torch", f"{torch.__version__}, built for CUDA {torch.version.cuda or 'no version'}"),
        ("torchvision", _version("torchvision")),
        ("detectron2", detectron2_origin()),
        *((name, _version(name)) for name in PACKAGES),
        ("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors"),
        ("GPUs", _gpus()),
        ("nvcc", _nvcc()),
        ("operators", load_error or "compiled, run on:"),
        *((f"  {name}", ", ".join(devices)) for name, devices in operator_devices().items()),
    ]
    return _table(rows)


def versions() -> dict[str, str]:
    """The versions of Python, of this project and of what it stands on."""
    return {
        "posecore": posecore.__version__,
        "Python": platform.python_version(),
        "torch": str(torch.__version__),  # a class of its own, which checkpoints cannot hold
        "torchvision": _version("torchvision"),
        "detectron2": detectron2_origin(),
        **{name: _version(name) for name in PACKAGES},
    }


def git_commit(folder: Path = REPOSITORY) -> str:
    """The commit of a checkout, with a note if files of it differ; "" where the folder is none of git."""
    git = ["git", "-C", str(folder)]
    try:
        top, commit = _output([*git, "rev-parse", "--show-toplevel", "HEAD"]).split("\n")
        # An installed package may lie in a folder of another project.
        if Path(top).resolve() != folder.resolve():
            return ""
        changes = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return f"{commit} with changes" if changes else commit


def describe_checkpoint(file: str) -> str:
    """What a checkpoint records of its training, as text. Code in the file is not run.

    Raises:
        UsageError: the file does not exist, is no checkpoint, or has no record.
    """
    if not Path(file).is_file():
        raise UsageError(f"{file} does not exist, or is no file")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # The bytes are anybody's; torch raises whatever it meets in them.
        raise UsageError(f"{file} is no readable checkpoint: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise UsageError(f"{file} is no checkpoint, but holds a {type(content).__name__}")
    return TrainingRecord.read(content, file).describe(content.get("iteration", "not known"))


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


def _beside(recorded: object, here: str | None) -> str:
    return str(recorded) if recorded == here else f"{recorded} (here: {here or 'not installed'})"


def _describe_skeleton(skeleton: Mapping[str, Any]) -> str:
    keypoints = skeleton.get("keypoints", ())
    return f"{skeleton.get('name')}, {len(keypoints)} keypoints: {', '.join(map(str, keypoints))}"


def operator_devices() -> dict[str, list[str]]:
    """The loaded operators of this project, each with the devices that it has a kernel for."""
    names = sorted(name for name in torch._C._dispatch_get_all_op_names() if name.startswith("posecore::"))
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return {
        name.removeprefix("posecore::"): [device for device in DEVICES if has_kernel(name, device)]
        for name in names
    }


def detectron2_origin() -> str:
    """The version of Detectron2, its source, and whether its own operators are compiled."""
    spec = importlib.util.find_spec("detectron2._C")
    operators = "its operators compiled" if spec and spec.origin else "its operators not compiled"
    for name in ("detectron2", "pb1-detectron2"):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        return f"{found.version}, {_source(found)}, {operators}"
    return f"a folder on the path, {operators}"


def _source(found: Distribution) -> str:
    direct = json.loads(found.read_text("direct_url.json") or "{}")
    if "vcs_info" in direct:
        return f"{direct['url']} at {direct['vcs_info']['commit_id'][:12]}"
    return direct.get("url", f"from the package index ({found.name})")


def _load_operators() -> str:
    """Loads the compiled operators; returns the reason of a failure, or "" after success."""
    if importlib.util.find_spec("posecore._C") is None:
        return "not compiled: run `make setup`, or `pip install --no-build-isolation --no-deps -e .`"
    try:
        import posecore._C  # noqa: F401
    except ImportError as error:
        return f"compiled for another torch or Python, compile them again ({error})"
    return ""


def _methods() -> str:
    return ", ".join(sorted(point.name for point in entry_points(group=METHODS))) or "none installed"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _gpus() -> str:
    cards = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    texts = [
        f"{card.name} (sm_{card.major}{card.minor}, {card.total_memory / 2**30:.0f} GiB)" for card in cards
    ]
    return ", ".join(texts) or "none"


def _nvcc() -> str:
    compiler = shutil.which("nvcc")
    if compiler is None:
        return "not on PATH"
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout
    release = re.search(r"release ([\d.]+)", told)
    return f"{release[1] if release else 'of unknown version'}, {compiler}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="posecore.env", description="Reports versions for bug reports.")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="print what FILE records of its training instead"
    )
    options = parser.parse_args()
    if options.checkpoint is None:
        print(describe())
        return
    try:
        print(describe_checkpoint(options.checkpoint))
    except UsageError as error:
        sys.exit(f"posecore.env: {error}")


if __name__ == "__main__":
    main()
