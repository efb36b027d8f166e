"""Whether a model is being exported, in which case operators are plain torch: :func:`is_exporting`."""

import torch


def is_exporting() -> bool:
    """Whether ``torch.export`` or ``torch.onnx.export`` (torch 2.7 or later) traces the code that calls this.

    Other runtimes lack our operators, and have no sizes that depend on values. Code that uses either takes a
    path of gathers and masks instead.
    """
    # torch 2.6 has no is_exporting.
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()
