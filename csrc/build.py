"""The setuptools command :class:`BuildOps`, which compiles ``csrc/`` into ``posecore._C``.

The CPU kernels are always built. The CUDA kernels are built too if torch itself was built for CUDA and a
CUDA toolkit is found; no GPU is needed. These environment variables control the build:

- ``CUDA_HOME``: the folder of the toolkit. The default is ``/usr/local/cuda``, or else the folder that
  ``nvcc`` belongs to. With a folder that lacks CUDA's headers (``CUDA_HOME=none``), only the CPU kernels are
  built. The same holds for a toolkit of another major version than torch's if there is no GPU; if there is
  one, torch stops the build with an error.
- ``TORCH_CUDA_ARCH_LIST``: the GPU architectures to build for. The default is those of the machine's GPUs, or
  else 9.0.
- ``MAX_JOBS``: the number of compilers that run at the same time.

Where the build for CUDA fails, for instance because ``nvcc`` rejects the host compiler, the last line of the
output names the ways out.
"""

import os
import re
import shutil
from pathlib import Path

import torch

DEFAULT_ARCHITECTURE = "9.0"


def find_cuda() -> Path | None:
    """The folder of the CUDA toolkit to build with, or None if only the CPU kernels are built."""
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
    """The major version of a toolkit, None if its headers do not contain it."""
    header = home / "include" / "cuda_runtime_api.h"
    text = header.read_text(errors="replace") if header.is_file() else ""
    found = re.search(r"#define\s+CUDART_VERSION\s+(\d+)\d{3}\b", text)
    return int(found[1]) if found else None


# torch.utils.cpp_extension reads CUDA_HOME on import, and fails without a GPU if no architecture is given.
CUDA = find_cuda()
if CUDA is not None:
    os.environ["CUDA_HOME"] = str(CUDA)
    if not os.environ.get("TORCH_CUDA_ARCH_LIST") and not torch.cuda.is_available():
        os.environ["TORCH_CUDA_ARCH_LIST"] = DEFAULT_ARCHITECTURE

from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402


def operators(name: str):
    """The extension ``name``, built from all sources under ``csrc/``."""
    sources = ["csrc/library.cpp", *_files("cpu/*.cpp")]
    if CUDA is not None:
        sources += _files("cuda/*.cu")
    flags = {
        # -fopenmp is passed to the compiler only, not to the linker: the extension then uses the OpenMP
        # runtime that torch has loaded, not a second one.
        "cxx": ["-O3", "-g0", "-Wall", "-fopenmp", *_vector_flags()],
        "nvcc": ["-O3", "--expt-relaxed-constexpr"],
    }
    extension = CppExtension if CUDA is None else CUDAExtension
    return extension(name, sources, depends=_files("**/*.h"), extra_compile_args=flags)


def _vector_flags() -> list[str]:
    # AVX2 if torch uses it on this machine, but not AVX-512, which many x86 servers lack.
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        return ["-mavx2", "-mfma", "-mf16c"]
    return []


def _files(pattern: str) -> list[str]:
    # setuptools runs in the root of the project and needs paths relative to it.
    folder = Path(__file__).parent
    return sorted(path.relative_to(folder.parent).as_posix() for path in folder.glob(pattern))


class BuildOps(BuildExtension):
    """Replaces the extension of pyproject.toml, which cannot depend on CUDA, by the real one."""

    def finalize_options(self) -> None:
        # This comes before the base class copies the list, because it also completes each entry.
        modules = self.distribution.ext_modules
        modules[:] = [operators(extension.name) for extension in modules]
        super().finalize_options()
        if CUDA is None:
            self.warn("no CUDA toolkit that fits this torch: the operators are built for the CPU alone")

    def build_extensions(self) -> None:
        # torch and setuptools raise many things here, from missing programs to compilers that fail.
        try:
            super().build_extensions()
        except Exception as error:
            if CUDA is None:
                raise
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise SystemExit(
                f"posecore: the operators cannot be compiled for CUDA with {CUDA}/bin/nvcc ({first}); its "
                "own message is above. CUDA_HOME=none builds them for the CPU alone, as in `CUDA_HOME=none "
                "make setup`; CUDA_HOME=/folder names another toolkit, and NVCC_PREPEND_FLAGS='-ccbin "
                "g++-12' a host compiler that this nvcc accepts"
            ) from error
