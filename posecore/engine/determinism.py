"""Repeatable trainings, the key DETERMINISTIC: :func:`set_deterministic` and :func:`operator_errors`."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode

from posecore.config.errors import UsageError

# cuBLAS adds in a fixed order only with workspaces of fixed sizes; this is the larger one that NVIDIA names.
CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
_NO_FORM = re.compile(r"(\S+) does not have a deterministic implementation")


def set_deterministic(cfg: CfgNode) -> None:
    """Makes torch refuse, or replace, operators that add in an order that changes, if DETERMINISTIC is True.

    It is called before the first use of a GPU.

    Raises:
        UsageError: SEED is not set, so that no two trainings would be the same.
    """
    if not cfg.DETERMINISTIC:
        return
    if cfg.SEED < 0:
        raise UsageError(
            f"DETERMINISTIC True needs a SEED of 0 or more, but SEED is {cfg.SEED}, which draws another seed "
            "for each training: add `SEED 0`"
        )
    os.environ.setdefault(*CUBLAS_WORKSPACE)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    # It chooses the fastest algorithm by a measurement, which may choose another one the next time.
    torch.backends.cudnn.benchmark = False


@contextmanager
def operator_errors() -> Iterator[None]:
    """Turns torch's error of an operator without a deterministic form into one that names key and operator.

    Raises:
        UsageError: such an operator was called in the block.
    """
    try:
        yield
    except RuntimeError as error:
        found = _NO_FORM.match(str(error))
        if found is None:
            raise
        raise UsageError(
            f"DETERMINISTIC True: the operator {found[1]} has no deterministic form on this device: set "
            "DETERMINISTIC False, use another device, or choose a model without the operator"
        ) from error
