"""Reports versions, GPUs and operators for bug reports: ``python -m posecore.env``.

It also runs if the operators are not compiled.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points, version

import torch

import posecore
from posecore.config import METHODS

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
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:{width}}  {value}" for name, value in rows)


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


if __name__ == "__main__":
    print(describe())
