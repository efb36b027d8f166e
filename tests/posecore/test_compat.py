"""Detectron2 imports with its gaps closed, and a Detectron2 without gaps is left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from posecore import compat


def run(code: str, root: Path, *folders: Path) -> subprocess.CompletedProcess:
    """Runs code in a fresh interpreter that finds packages in the given folders before all others."""
    path = os.pathsep.join(str(folder) for folder in (*folders, root))
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)


def test_detectron2_imports_and_resizes():
    from detectron2.data.transforms import ResizeTransform

    assert Image.LINEAR == Image.BILINEAR
    assert ResizeTransform(4, 4, 8, 8).interp == Image.BILINEAR


@pytest.mark.skipif(
    not isinstance(sys.modules.get("detectron2._C"), compat.MissingOperators),
    reason="Detectron2 has its compiled operators here",
)
def test_missing_operator_says_what_is_missing():
    from detectron2 import _C

    with pytest.raises(ImportError, match=r"without its compiled operators.*asked for deform_conv_forward"):
        _C.deform_conv_forward()


def test_apply_twice_changes_nothing():
    compat.apply()
    before = sys.modules.get("detectron2._C")
    compat.apply()
    assert sys.modules.get("detectron2._C") is before


def test_complete_detectron2_is_left_alone(tmp_path, root):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_C.py").write_text("compiled = True\n")
    done = run("import posecore, detectron2._C as c; assert c.compiled", root, tmp_path)
    assert done.returncode == 0, done.stderr


def test_lacking_operators_are_stood_in_for(tmp_path, root):
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").touch()
    done = run("import posecore\nfrom detectron2 import _C\n_C.nms_rotated", root, tmp_path)
    assert "ImportError: detectron2 was installed without its compiled operators" in done.stderr


HIDE = (
    "from importlib.machinery import PathFinder\n"
    "find = PathFinder.find_spec\n"
    "PathFinder.find_spec = lambda name, *rest: None if name == 'detectron2' else find(name, *rest)\n"
)


@pytest.mark.parametrize("code", ["import posecore.modeling.estimator", "import posecore, detectron2"])
def test_absent_detectron2_says_how_to_install_it(code, root):
    done = run(HIDE + code, root)
    assert "ImportError: Detectron2 is not installed" in done.stderr
    assert "make setup" in done.stderr
    assert "pb1-detectron2==0.6" in done.stderr


def test_what_needs_no_detectron2_is_imported_without_it(root):
    done = run(HIDE + "import posecore.structures.crops\nfrom posecore import compat\ncompat.apply()", root)
    assert done.returncode == 0, done.stderr
