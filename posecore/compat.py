"""Makes Detectron2 0.6 of the package index work with current libraries; does nothing else.

It is imported before Detectron2, and provides two things that this package needs and lacks:

* ``PIL.Image.LINEAR``, an old name of BILINEAR that Pillow 10 removed;
* the compiled module ``detectron2._C``, which is not in the package. The methods here need none of its
  operators, but Detectron2's layers import it when they are loaded.

With a Detectron2 that needs neither (its current main, compiled) this module does nothing. Where Detectron2
is not installed, an import of it says how to install it, and what does without it can be imported, such as
:mod:`posecore.inference.onnx`.
"""

import importlib.util
import sys
import types
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

_NOT_COMPILED = (
    "detectron2 was installed without its compiled operators: rotated boxes and its deformable "
    "convolution are not available"
)
_NOT_INSTALLED = (
    "Detectron2 is not installed, and no package index carries it under its own name. In a checkout "
    "of posecore `make setup` installs it; by hand, after torch: pip install --use-pep517 --no-deps "
    '--no-build-isolation --config-settings="--global-option=build_py" '
    '--config-settings="--build-option=--skip-build" pb1-detectron2==0.6'
)


class MissingOperators(types.ModuleType):
    """A replacement of ``detectron2._C`` whose operators raise an ImportError when they are read."""

    def __init__(self) -> None:
        super().__init__("detectron2._C")
        # With a spec find_spec finds it, so that a second `apply` does not replace it.
        self.__spec__ = ModuleSpec(self.__name__, loader=None)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"{_NOT_COMPILED} (asked for {name})")


class MissingDetectron2(MetaPathFinder):
    """The last finder of modules where Detectron2 is not installed: its import says how to install it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        """
        Raises:
            ImportError: the module is Detectron2; no earlier finder has found it.
        """
        if fullname == "detectron2":
            raise ImportError(_NOT_INSTALLED, name=fullname)
        return None


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("detectron2") is not None
    except ImportError:  # of a finder that refuses it
        return False


def apply() -> None:
    """Provides the missing parts, or where Detectron2 is not installed the error of its import."""
    if any(isinstance(finder, MissingDetectron2) for finder in sys.meta_path):
        return
    if not _is_installed():
        sys.meta_path.append(MissingDetectron2())
        return
    # Pillow is a requirement of Detectron2, and not of what works without it.
    from PIL import Image

    if not hasattr(Image, "LINEAR"):
        Image.LINEAR = Image.BILINEAR  # type: ignore[attr-defined]
    if importlib.util.find_spec("detectron2._C") is None:
        sys.modules["detectron2._C"] = MissingOperators()


apply()
