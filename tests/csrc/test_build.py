"""How the build finds CUDA, in a process of its own, since it settles the environment when it is imported."""

import os

import pytest
from helpers.processes import run_python

# Torch looks for CUDA when this module is imported.
FORGET = """
import os, sys, torch
sys.modules.pop("torch.utils.cpp_extension", None)
"""
SHOW = """
torch.version.cuda, torch.cuda.is_available = {cuda!r}, lambda: {gpu}
from csrc import build
print(build.CUDA, os.environ.get("TORCH_CUDA_ARCH_LIST"), *build.operators("posecore._C").sources)
"""


def build(root, cuda="13.0", gpu=False, **environment):
    """What the build would do with a torch for this CUDA: toolkit, architectures, sources."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("CUDA_HOME", "TORCH_CUDA_ARCH_LIST")
    }
    program = FORGET + SHOW.format(cuda=cuda, gpu=gpu)
    done = run_python(["-c", program], cwd=root, env=kept | environment)
    assert done.returncode == 0, done.stderr
    toolkit, architectures, *sources = done.stdout.split()
    return toolkit, architectures, sources


def every_source(root, *patterns):
    return [path.relative_to(root).as_posix() for pattern in patterns for path in sorted(root.glob(pattern))]


@pytest.fixture
def toolkit(tmp_path):
    """A folder like CUDA's, whose compiler is also on a path of its own, as a link."""
    for name in ("bin/nvcc", "include/cuda_runtime.h", "lib64/libcudart.so"):
        (tmp_path / "cuda" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cuda" / name).touch(mode=0o755)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "nvcc").symlink_to(tmp_path / "cuda" / "bin" / "nvcc")
    return tmp_path / "cuda"


def test_builds_for_cuda_with_the_given_toolkit_and_no_gpu(root, toolkit):
    found, architectures, sources = build(root, CUDA_HOME=str(toolkit))
    assert found == str(toolkit)
    assert architectures == "9.0"
    assert sources == every_source(root, "csrc/library.cpp", "csrc/cpu/*.cpp", "csrc/cuda/*.cu")


@pytest.mark.parametrize(("version", "fits"), [(13000, True), (13020, True), (12040, False), (9020, False)])
def test_a_toolkit_of_another_major_version_builds_for_the_cpu(root, toolkit, version, fits):
    """Without a GPU; with one, torch is to say what is wrong."""
    header = toolkit / "include" / "cuda_runtime_api.h"
    header.write_text(f"#ifndef __CUDA\n#define CUDART_VERSION  {version}\n#endif\n")
    assert build(root, CUDA_HOME=str(toolkit))[0] == (str(toolkit) if fits else "None")
    assert build(root, gpu=True, CUDA_HOME=str(toolkit))[0] == str(toolkit)


def test_keeps_the_given_architectures(root, toolkit):
    assert build(root, CUDA_HOME=str(toolkit), TORCH_CUDA_ARCH_LIST="8.0+PTX")[1] == "8.0+PTX"


@pytest.mark.parametrize("environment", [{"CUDA_HOME": "none"}, {"cuda": None}])
def test_builds_for_the_cpu_alone(root, environment):
    found, architectures, sources = build(root, **environment)
    assert (found, architectures) == ("None", "None")
    assert sources == every_source(root, "csrc/library.cpp", "csrc/cpu/*.cpp")


@pytest.mark.skipif(os.path.exists("/usr/local/cuda/bin/nvcc"), reason="/usr/local/cuda comes first")
def test_follows_the_compiler_to_its_toolkit(root, toolkit):
    path = f"{toolkit.parent / 'path'}{os.pathsep}{os.environ['PATH']}"
    assert build(root, PATH=path)[0] == str(toolkit)


COMPILE = """
torch.version.cuda = "13.0"
from setuptools import Distribution, Extension
from csrc import build
from torch.utils.cpp_extension import CUDAExtension
build.operators = lambda name: CUDAExtension(name, [sys.argv[1]])  # one file, which the compiler never reads
command = build.BuildOps(Distribution({"ext_modules": [Extension("made_up", [])]}))
command.build_temp, command.build_lib = sys.argv[2:]
command.ensure_finalized()
command.run()
"""


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ("#error -- unsupported GNU version! gcc versions later than 14 are not supported!", "1"),
        ("Killed", "137"),
    ],
)
def test_a_compiler_that_fails_is_named_with_the_way_out(root, toolkit, tmp_path, says, status):
    nvcc = toolkit / "bin" / "nvcc"
    version = "Cuda compilation tools, release 13.0, V13.0.48"
    nvcc.write_text(
        "#!/bin/sh\n"
        f"if [ $1 = --version ]; then echo '{version}'; exit; fi\n"
        f"echo '{says}' >&2\n"
        f"exit {status}\n"
    )
    nvcc.chmod(0o755)
    source = tmp_path / "kernel.cu"
    source.touch()
    environment = os.environ | {"CUDA_HOME": str(toolkit), "TORCH_CUDA_ARCH_LIST": "9.0"}
    command = ["-c", FORGET + COMPILE, source, tmp_path / "temp", tmp_path / "lib"]
    done = run_python(command, cwd=root, env=environment)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr  # the compiler's own message
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"posecore: the operators cannot be compiled for CUDA with {nvcc} (")
    assert "CUDA_HOME=none" in last
    assert "NVCC_PREPEND_FLAGS='-ccbin g++-12'" in last


def test_a_compiler_that_does_not_start_is_named_too(root, toolkit, tmp_path):
    (toolkit / "bin" / "nvcc").write_text("no program")
    environment = os.environ | {"CUDA_HOME": str(toolkit), "TORCH_CUDA_ARCH_LIST": "9.0"}
    command = ["-c", FORGET + COMPILE, tmp_path / "kernel.cu", tmp_path / "temp", tmp_path / "lib"]
    done = run_python(command, cwd=root, env=environment)
    assert done.returncode != 0
    assert "CUDA_HOME=none builds them for the CPU alone" in done.stderr.strip().splitlines()[-1]
