"""Makes Detectron2 0.6 of the package index work with current libraries; does nothing else.

It is imported before Detectron2, and provides two things that this package needs and lacks:

* ``PIL.Image.LINEAR``, an old name of BILINEAR that Pillow 10 removed;
* the compiled module ``detectron2._C``, which is not in the package. The methods here need none of its
  operators, but Detectron2's layers import it when they are loaded.

With a Detectron2 that needs neither (its current main, compiled) this module does nothing.
"""

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec

from PIL import Image

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


def apply() -> None:
    """Provides the missing parts.

    Raises:
        ImportError: Detectron2 is not installed; the message says how to install it.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(_NOT_INSTALLED)
    if not hasattr(Image, "LINEAR"):
        Image.LINEAR = Image.BILINEAR  # type: ignore[attr-defined]
    if importlib.util.find_spec("detectron2._C") is None:
        sys.modules["detectron2._C"] = MissingOperators()


apply()
