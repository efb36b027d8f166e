"""Closes the gaps of Detectron2 0.6 as the package index has it; nothing else.

Imported before anything of Detectron2 is. Two things are missing there:

* ``PIL.Image.LINEAR``, which Pillow 10 removed (it was another name of BILINEAR);
* the compiled module ``detectron2._C``, which the index's package does not carry. Our
  methods need none of its operators, but Detectron2's layers import it at load time.

With a Detectron2 that has both (its current main, compiled) this module does nothing.
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
    """Stands in for ``detectron2._C``: any operator asked of it raises an ImportError."""

    def __init__(self) -> None:
        super().__init__("detectron2._C")
        # With a spec it counts as found, so that a second `apply` leaves it alone.
        self.__spec__ = ModuleSpec(self.__name__, loader=None)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"{_NOT_COMPILED} (asked for {name})")


def apply() -> None:
    """Closes the gaps, where they exist.

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
