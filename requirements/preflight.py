"""Looks for what `make setup` would otherwise fail on after minutes: run before it downloads anything.

    python3 requirements/preflight.py .venv

Prints each problem with what mends it, and exits with 1 when there is one. Uses the standard library
only, and no syntax newer than Python 3.6, so that an old Python gets as far as reading why it is too old.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PYTHON = (3, 10)
# torch 2.14 for CUDA with its libraries takes 5.5 GB, everything else 1 GB; the rest is slack.
VENV_GB = 8
# pip keeps what it downloads here while it unpacks it.
TEMPORARY_GB = 3

PROGRAM = "#include <Python.h>\n#include <vector>\nint main() { return std::vector<int>().size(); }\n"


def python_problem() -> str:
    """This Python is too old, or cannot make virtual environments."""
    found = sys.version_info[:2]
    if found < PYTHON:
        return (
            f"{sys.executable} is Python {found[0]}.{found[1]}, but {PYTHON[0]}.{PYTHON[1]} or later "
            "is needed. Name another one: make setup PYTHON=/path/to/python3.11"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return (
            f"{sys.executable} cannot make virtual environments ({error}). "
            f"Debian and Ubuntu: apt-get install python{found[0]}.{found[1]}-venv"
        )
    return ""


def compiler_problem() -> str:
    """No C++ compiler, or one that cannot compile against this Python."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")
    if shutil.which(compiler[0]) is None:
        return (
            f"no C++ compiler: {compiler[0]} is not on PATH. Debian and Ubuntu: apt-get install g++; "
            "or name one: make setup CXX=/path/to/g++"
        )
    include = sysconfig.get_path("include")
    command = [*compiler, "-fsyntax-only", "-I", include, "-x", "c++", "-"]
    tried = subprocess.run(command, input=PROGRAM, capture_output=True, text=True)
    if tried.returncode != 0:
        return (
            f"the C++ compiler cannot compile a program that includes Python.h ({shlex.join(command)}):\n"
            f"{tried.stderr.strip()}\n"
            f"Debian and Ubuntu: apt-get install g++ python{sys.version_info[0]}.{sys.version_info[1]}-dev"
        )
    return ""


def disk_problem(folder: Path, needed_gb: int) -> str:
    """Less room than needed on the file system that the folder lies on, or will lie on."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free_gb = shutil.disk_usage(place).free / 1e9
    if free_gb < needed_gb:
        return f"{folder} has {free_gb:.1f} GB free; installing torch and the rest takes {needed_gb} GB there"
    return ""


def problems(venv: Path) -> list:
    """All problems found, as texts; ``venv`` is the virtual environment that is to be made or completed."""
    too_old = python_problem()
    if too_old:
        return [too_old]
    found = [compiler_problem()]
    if not any(venv.glob("lib/python*/site-packages/torch")):
        found.append(disk_problem(venv, VENV_GB))
        found.append(disk_problem(Path(tempfile.gettempdir()), TEMPORARY_GB))
    return [problem for problem in found if problem]


def main() -> None:
    found = problems(Path(sys.argv[1]))
    for problem in found:
        print(f"set-up cannot start: {problem}", file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
