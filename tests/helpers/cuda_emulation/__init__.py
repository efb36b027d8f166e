"""The CUDA kernels compiled for the CPU: :func:`build` makes a library of a .cu file without a GPU or nvcc.

``include/cuda_emulation.h`` has what the kernels use of CUDA. The library registers them as the operators'
kernels for the CPU (:mod:`helpers.cuda_emulation.plugin` loads it). It is compiled with the sanitizers of
addresses, alignment and bounds, so that a read or write beyond a tensor ends the process with a report.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

INCLUDE = Path(__file__).parent / "include"
CSRC = Path(__file__).resolve().parents[3] / "csrc"
COMPILER = os.environ.get("CXX", "g++")
# -O1 compiles in half the time of -O2.
FLAGS = [
    "-std=c++20",
    "-O1",
    "-shared",
    "-fPIC",
    "-g1",
    "-w",
    "-fsanitize=address,alignment,bounds",
    "-fno-sanitize-recover=all",
    f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
]
LAUNCH = re.compile(r"<<<(.*?)>>>", re.DOTALL)


def translate(source: str) -> str:
    """A .cu file as C++: launches become calls of the emulation, and kernels are registered for the CPU."""
    plain = LAUNCH.sub(r" | cuda_emulation::configure(\1)", source)
    return plain.replace("TORCH_LIBRARY_IMPL(posecore, CUDA,", "TORCH_LIBRARY_IMPL(posecore, CPU,")


def build(source: Path, folder: Path, change: Callable[[str], str] = str) -> Path:
    """Compiles a .cu file into a library, or returns the one that was compiled from the same sources.

    Args:
        source: the file, one of ``csrc/cuda``.
        folder: where libraries are kept.
        change: of the text of the file, to put an error into it.
    """
    text = translate(change(source.read_text()))
    headers = [path.read_text() for path in sorted([*CSRC.rglob("*.h"), *INCLUDE.rglob("*.h")])]
    content = repr([torch.__version__, COMPILER, FLAGS, text, headers])
    library = folder / f"{source.stem}-{hashlib.sha256(content.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            file = Path(work, source.stem).with_suffix(".cpp")
            file.write_text(f'#line 1 "{source.name}"\n{text}')
            result = subprocess.run(_command(file), capture_output=True, text=True)
            if result.returncode:
                raise RuntimeError(f"{' '.join(result.args)} failed:\n{result.stderr[:4000]}")
            # In one step, as another process may look for it.
            file.with_suffix(".so").replace(library)
    return library


def _command(file: Path) -> list[str]:
    """Compiles a translated file into a library beside it."""
    torch_folder = Path(torch.__file__).parent
    torch_include = torch_folder / "include"
    # csrc/cuda first, for the file's own includes are relative to it.
    includes = ["-iquote", str(CSRC / "cuda"), "-I", str(INCLUDE)]
    for include in (torch_include, torch_include / "torch/csrc/api/include"):
        includes += ["-isystem", str(include)]
    libraries = ["-L", str(torch_folder / "lib"), "-Wl,--no-as-needed", "-ltorch_cpu", "-lc10"]
    target = str(file.with_suffix(".so"))
    return [COMPILER, *FLAGS, *includes, "-include", "cuda_emulation.h", str(file), "-o", target, *libraries]


def environment() -> dict[str, str]:
    """The variables with which a process can load such a library."""
    runtimes = []
    # The sanitizer looks for the functions of the second one when it starts, and fails at exceptions without.
    for runtime in ("libasan.so", "libstdc++.so"):
        command = [COMPILER, f"-print-file-name={runtime}"]
        runtimes.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    # Python itself leaks on purpose.
    return os.environ | {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}


def why_not() -> str:
    """The reason why nothing can be compiled and loaded here, or an empty string."""
    if shutil.which(COMPILER) is None:
        return f"no C++ compiler ({COMPILER})"
    check = subprocess.run(["true"], env=environment(), capture_output=True, text=True)
    return f"the address sanitizer does not run: {check.stderr[:200]}" if check.returncode else ""
