"""The setuptools command that compiles ``csrc/`` into ``posecore._C``.

The CPU kernels are always built. The CUDA kernels are built too when torch itself was built for CUDA
and a CUDA toolkit is found; no GPU has to be there. What decides can be set in the environment:

- ``CUDA_HOME``: the toolkit. Otherwise ``/usr/local/cuda``, otherwise the folder that ``nvcc`` lies in.
  A folder without CUDA's headers (``CUDA_HOME=none``) gives a build for the CPU alone; so does a toolkit of
  another major version than torch's, where there is no GPU. With one, torch stops the build and says why.
- ``TORCH_CUDA_ARCH_LIST``: the cards to build for. Otherwise those in the machine, otherwise 9.0.
- ``MAX_JOBS``: how many compilers run at once.
"""

import os
import re
import shutil
from pathlib import Path

import torch

DEFAULT_ARCHITECTURE = "9.0"


def find_cuda() -> Path | None:
    """The folder of the CUDA toolkit to build with, or None when the build is for the CPU alone."""
    if torch.version.cuda is None:
        return None
    home = _toolkit()
    if home is None or not (home / "include" / "cuda_runtime.h").is_file():
        return None
    if _major_version(home) not in (None, int(torch.version.cuda.split(".")[0])):
        return home if torch.cuda.is_available() else None
    return home


def _toolkit() -> Path | None:
    given = os.environ.get("CUDA_HOME")
    if given:
        return Path(given)
    usual = Path("/usr/local/cuda")
    if (usual / "bin" / "nvcc").is_file():
        return usual
    nvcc = shutil.which("nvcc")
    return Path(nvcc).resolve().parents[1] if nvcc else None


def _major_version(home: Path) -> int | None:
    """That of a toolkit, None if it does not say."""
    header = home / "include" / "cuda_runtime_api.h"
    text = header.read_text(errors="replace") if header.is_file() else ""
    found = re.search(r"#define\s+CUDART_VERSION\s+(\d+)\d{3}\b", text)
    return int(found[1]) if found else None


# torch.utils.cpp_extension reads CUDA_HOME when it is imported, and without a GPU it fails when it
# has to guess the architecture.
CUDA = find_cuda()
if CUDA is not None:
    os.environ["CUDA_HOME"] = str(CUDA)
    if not os.environ.get("TORCH_CUDA_ARCH_LIST") and not torch.cuda.is_available():
        os.environ["TORCH_CUDA_ARCH_LIST"] = DEFAULT_ARCHITECTURE

from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402


def operators(name: str):
    """The extension ``name``, of every source under ``csrc/``."""
    sources = ["csrc/library.cpp", *_files("cpu/*.cpp")]
    if CUDA is not None:
        sources += _files("cuda/*.cu")
    flags = {
        # -fopenmp only when compiling: the runtime is then the one that torch has loaded, not a second.
        "cxx": ["-O3", "-g0", "-Wall", "-fopenmp", *_vector_flags()],
        "nvcc": ["-O3", "--expt-relaxed-constexpr"],
    }
    extension = CppExtension if CUDA is None else CUDAExtension
    return extension(name, sources, depends=_files("**/*.h"), extra_compile_args=flags)


def _vector_flags() -> list[str]:
    # The wide vectors that torch uses on this machine, but no wider than every x86 server has had for years.
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        return ["-mavx2", "-mfma", "-mf16c"]
    return []


def _files(pattern: str) -> list[str]:
    # setuptools wants paths relative to the project's root, which is where it runs.
    folder = Path(__file__).parent
    return sorted(path.relative_to(folder.parent).as_posix() for path in folder.glob(pattern))


class BuildOps(BuildExtension):
    """Swaps the entry of pyproject.toml, which cannot tell CPU from CUDA, for the real extension."""

    def finalize_options(self) -> None:
        # Before the base class copies the list, because it also completes each entry.
        modules = self.distribution.ext_modules
        modules[:] = [operators(extension.name) for extension in modules]
        super().finalize_options()
        if CUDA is None:
            self.warn("no CUDA toolkit that fits this torch: the operators are built for the CPU alone")
