"""A configuration without methods, and functions that run in several processes."""

import importlib.util
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import detectron2.config
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm

from posecore.config import add_config
from posecore.config.node import SafeCfgNode
from posecore.engine.launch import launch


def core_cfg(*overrides: Any) -> CfgNode:
    """A configuration with the keys of Detectron2 and of the core, for the CPU; no method is loaded."""
    cfg = SafeCfgNode()
    cfg.update(detectron2.config.get_cfg())
    add_config(cfg)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *overrides])
    return cfg


def in_processes(function: Callable[..., Any], size: int, *args: Any) -> list[Any]:
    """Calls ``function(*args)`` in ``size`` processes that form one gloo world.

    Args:
        function: a function at the top level of a test module. The processes load that module from its file,
            so everything that it registers on import exists in them too.
        size: number of processes.
        args: picklable arguments.

    Returns:
        The results of the function by rank: tensors, numbers, text or containers of these.
    """
    with tempfile.TemporaryDirectory() as folder:
        call = (inspect.getfile(function), function.__name__, args, folder)
        launch(_call, call, device="cpu", num_gpus=size)
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(size)]


def _call(file: str, name: str, args: tuple, folder: str) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(getattr(module, name)(*args), Path(folder) / f"{comm.get_rank()}.pt")
