"""Weights from anywhere, as tensors by Detectron2's names, read without running what a file may hold.

MODEL.WEIGHTS can be a file (.pth, or .pkl of Detectron2's catalog), an address that Detectron2 knows
(https://, detectron2://, catalog://), or a pretrained backbone by its name in another library:

    torchvision://resnet101                          its first ImageNet weights
    torchvision://ResNet101_Weights.IMAGENET1K_V2    these
    timm://hrnet_w32.ms_in1k                         for MODEL.TIMM.NAME "hrnet_w32"
    backbone://res50_coco_512x512.pth                the backbone in a checkpoint of another model, such as
                                                     one of MMPose or of another method here
"""

import argparse
import io
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from detectron2.checkpoint.c2_model_loading import convert_basic_c2_names
from detectron2.utils.file_io import PathManager
from torch import Tensor

from posecore.checkpoint import hrformer_names
from posecore.modeling.backbones.timm import HEAD_CONV


class CheckpointError(ValueError):
    """Weights that cannot be read, or do not fit the model."""


def read_checkpoint(source: str) -> dict[str, Any]:
    """What ``source`` holds.

    Returns:
        "model", the weights by name, and whatever else a checkpoint of ours has. Names of torchvision's
        ResNets and of Caffe2 have become Detectron2's, those of HRFormer's authors ours; classifiers of
        ResNets are left out.

    Raises:
        CheckpointError: no such file or name, not readable, or no weights in it; names the source.
    """
    try:
        content = _fetch(source)
    except OSError as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: {error}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"MODEL.WEIGHTS {source}: holds a {type(content).__name__}, no weights by name")
    for key in ("model", "state_dict", "blobs"):
        if isinstance(content.get(key), Mapping):
            return {**content, "model": _canonical(content[key], source)}
    return {"model": _canonical(content, source)}


def _fetch(source: str) -> Any:
    if source.startswith("torchvision://"):
        return _from_torchvision(source.removeprefix("torchvision://"))
    if source.startswith("timm://"):
        return _from_timm(source.removeprefix("timm://"))
    if source.startswith("backbone://"):
        return _backbone_of(source.removeprefix("backbone://"))
    path = PathManager.get_local_path(os.path.expanduser(source))
    if not Path(path).is_file():
        raise CheckpointError(f"MODEL.WEIGHTS {source}: no such file")
    try:
        if path.endswith(".pkl"):
            return load_pickle(Path(path).read_bytes())
        # DETR and its kin save the options they were started with. A Namespace runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: not a readable checkpoint: {error}") from error


def _from_torchvision(name: str) -> dict[str, Tensor]:
    try:
        # A model's first weights are those that detectors have been trained from ever since; the later
        # ones win at classification alone.
        weights = (
            torchvision.models.get_weight(name)
            if "." in name
            else torchvision.models.get_model_weights(name).IMAGENET1K_V1
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"MODEL.WEIGHTS torchvision://{name}: torchvision has none: {error}") from error
    return weights.get_state_dict(progress=False, check_hash=True)


def _from_timm(name: str) -> dict[str, Tensor]:
    try:
        features = timm.create_model(name, pretrained=True, features_only=True).state_dict()
        whole = timm.create_model(name, pretrained=True).state_dict()
    except RuntimeError as error:
        raise CheckpointError(f"MODEL.WEIGHTS timm://{name}: {error}") from error
    head_conv = {key: weight for key, weight in whole.items() if key.split(".")[0] in HEAD_CONV}
    return head_conv | features


def _backbone_of(file: str) -> dict[str, Tensor]:
    """The backbone alone, without a pyramid around it."""
    backbone = {
        name.removeprefix("backbone.").removeprefix("bottom_up."): weight
        for name, weight in read_checkpoint(file)["model"].items()
        if name.startswith("backbone.")
    }
    if not backbone:
        raise CheckpointError(f"MODEL.WEIGHTS backbone://{file}: no name in it begins with 'backbone.'")
    # Of a pyramid only what it stands on is left.
    return {name: w for name, w in backbone.items() if not name.startswith(("fpn_", "top_block."))}


_CORES = ("numpy.core", "numpy._core")  # before and since numpy 2
_ADMITTED = frozenset(
    [(module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "bytearray")]
    + [(f"{core}.multiarray", name) for core in _CORES for name in ("_reconstruct", "scalar")]
    + [(f"{core}.numeric", "_frombuffer") for core in _CORES]
    + [("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode")]
)


class _ArrayUnpickler(pickle.Unpickler):
    """Admits plain Python values and numpy arrays; anything else could run code when it is read."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}; only arrays and plain values are read"
            )
        return super().find_class(module, name)


def load_pickle(data: bytes) -> Any:
    """The arrays and plain values of a pickle.

    Raises:
        pickle.UnpicklingError: it asks for anything else. Nothing of it has run then.
    """
    return _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()


def _canonical(weights: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """Tensors, by Detectron2's names."""
    named = {name: torch.from_numpy(w) if isinstance(w, np.ndarray) else w for name, w in weights.items()}
    if wrong := [name for name, weight in named.items() if not isinstance(weight, Tensor)]:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: {wrong[0]!r} is no weight, but {named[wrong[0]]!r}")
    if named and all(name.startswith("module.") for name in named):  # saved inside DistributedDataParallel
        named = {name.removeprefix("module."): weight for name, weight in named.items()}
    # Other networks begin like torchvision's ResNets; those of timm keep its names here.
    if {name.split(".")[0] for name in named} <= _RESNET_PARTS and not source.startswith("timm://"):
        named = {torchvision_name(name): weight for name, weight in named.items()}
    if hrformer_names.MARKER in named:
        renamed = {name: hrformer_names.official_name(name) for name in named}
        named = {ours or name: named[name] for name, ours in renamed.items() if ours != ""}
    if "conv1_w" in named:
        named = {name: weight for name, weight in named.items() if not name.endswith("_momentum")}
        named = dict(zip(convert_basic_c2_names(list(named)), named.values(), strict=True))
    if "stem.conv1.weight" in named:
        named = {name: weight for name, weight in named.items() if not re.match(r"(stem\.)?fc\d*\.", name)}
    return named


_RESNET_PARTS = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}


def torchvision_name(name: str) -> str:
    """A parameter's name in torchvision's ResNets -> in Detectron2's."""
    name = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", name)
    name = re.sub(r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
