"""Reads weights from files and other libraries, under Detectron2's names: :func:`read_checkpoint`.

Code that a file may contain is never run. MODEL.WEIGHTS can be a file (.pth, .safetensors, or .pkl of
Detectron2's catalog), an address that Detectron2 knows (https://, detectron2://, catalog://), or a model or
pretrained backbone by its name:

    model://fcpose_lite0_lsp                         a model that comes with this project
                                                     (python -m posecore.models lists them)
    hf://owner/name/file.safetensors                 a file on the Hugging Face hub; owner/name@revision for
                                                     a branch, a tag or a commit (posecore/checkpoint/hub.py)
    torchvision://resnet101                          its first ImageNet weights
    torchvision://ResNet101_Weights.IMAGENET1K_V2    the named weights
    timm://hrnet_w32.ms_in1k                         for MODEL.TIMM.NAME "hrnet_w32"
    package://efficientnet_lite0                     for MODEL.TIMM.NAME "tf_efficientnet_lite0": ImageNet
                                                     weights in a Python package, without a network
                                                     (posecore/checkpoint/packages.py)
    backbone://res50_coco_512x512.pth                the backbone in a checkpoint of another model, such as
                                                     one of MMPose or of another method here, or of a model
                                                     of this project (backbone://model://NAME)

"" and "random" are no weights: the model starts from its random initialization. A training accepts both; what
uses a trained model accepts "random" only (:func:`require_weights`), so that random weights never pass for
a model.
"""

import argparse
import os
import re
import reprlib
import zipfile
import zlib
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

from posecore import models
from posecore.checkpoint import hrformer_names, hub, packages
from posecore.checkpoint.errors import CheckpointError
from posecore.checkpoint.pickles import load_pickle
from posecore.checkpoint.safetensors_files import ENDING, read_safetensors
from posecore.config.errors import UsageError
from posecore.modeling.backbones.timm import HEAD_CONV

# The value of MODEL.WEIGHTS that asks for random weights on purpose.
RANDOM = "random"
# Begins the values that take the backbone alone.
BACKBONE = "backbone://"


def require_weights(source: str) -> None:
    """Checks that a model that is not trained here has weights.

    Args:
        source: the value of MODEL.WEIGHTS.

    Raises:
        CheckpointError: it is "".
    """
    if not source:
        raise CheckpointError(
            "MODEL.WEIGHTS is empty, so the model would find poses by random weights: name a checkpoint, or "
            f"add `MODEL.WEIGHTS {RANDOM}` to do that on purpose"
        )


def read_checkpoint(source: str) -> dict[str, Any]:
    """The content of a checkpoint.

    Args:
        source: as MODEL.WEIGHTS can be.

    Returns:
        "model", the weights by name, and the other entries of a checkpoint. Names of torchvision's ResNets
        and of Caffe2 are converted to Detectron2's, and official HRFormer names to those used here;
        classifiers of ResNets are left out.

    Raises:
        CheckpointError: the source does not exist, is not readable, or has no weights; the message names it.
    """
    try:
        content = _fetch(source)
    except OSError as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: {error}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"MODEL.WEIGHTS {source}: must hold weights by name, not a {type(content).__name__}"
        )
    for key in ("model", "state_dict", "blobs"):
        if isinstance(content.get(key), Mapping):
            return {**content, "model": _canonical(content[key], source)}
    return {"model": _canonical(content, source)}


def _fetch(source: str) -> Any:
    if source.startswith("torchvision://"):
        return _from_torchvision(source.removeprefix("torchvision://"))
    if source.startswith("timm://"):
        return _from_timm(source.removeprefix("timm://"))
    if source.startswith(packages.SCHEME):
        return packages.read_package(source.removeprefix(packages.SCHEME))
    if source.startswith(BACKBONE):
        return _backbone_of(source.removeprefix(BACKBONE))
    path = local_file(source)
    if path.suffix == ENDING:
        try:
            return read_safetensors(path)
        except ValueError as error:
            raise CheckpointError(f"MODEL.WEIGHTS {source}: {error}") from error
    _check_sums(path, source)
    try:
        if path.suffix == ".pkl":
            return load_pickle(path.read_bytes())
        # Checkpoints of DETR and its descendants hold a Namespace of options, which runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    # The bytes are anybody's; torch raises whatever it meets in them.
    except Exception as error:
        raise CheckpointError(f"MODEL.WEIGHTS {source}: not a readable checkpoint: {error}") from error


def local_file(source: str) -> Path:
    """The place on this machine of the file that MODEL.WEIGHTS names, fetched if need be.

    Args:
        source: a path, an address that ends in the name of a file, or model://NAME.

    Raises:
        CheckpointError: there is no such file or model, or the model's file is not that of its card.
        OSError: the file cannot be fetched.
    """
    if source.startswith(models.SCHEME):
        try:
            return models.find_model(source.removeprefix(models.SCHEME)).checked_file()
        except UsageError as error:
            raise CheckpointError(f"MODEL.WEIGHTS {source}: {error}") from error
    if source.startswith(hub.SCHEME):
        return hub.fetch_from_hub(source)
    path = Path(PathManager.get_local_path(os.path.expanduser(source)))
    if not path.is_file():
        raise CheckpointError(f"MODEL.WEIGHTS {source}: the file does not exist")
    return path


def _check_sums(path: Path, source: str) -> None:
    """Checks the sums of a file that torch.save wrote, which torch.load does not.

    Raises:
        CheckpointError: some bytes are not those that were written.
    """
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError):
        return  # no such file, or one that torch.load refuses
    if broken is not None:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source}: not a readable checkpoint: {broken} in it differs from what was saved"
        )


def _from_torchvision(name: str) -> dict[str, Tensor]:
    try:
        # Detectors are usually trained from a model's first weights; later ones are better at classification.
        weights = (
            torchvision.models.get_weight(name)
            if "." in name
            else torchvision.models.get_model_weights(name).IMAGENET1K_V1
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"MODEL.WEIGHTS torchvision://{name}: torchvision has no such weights: {error}"
        ) from error
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
    """The weights of the backbone alone, without the pyramid on it."""
    backbone = {
        name.removeprefix("backbone.").removeprefix("bottom_up."): weight
        for name, weight in read_checkpoint(file)["model"].items()
        if name.startswith("backbone.")
    }
    if not backbone:
        raise CheckpointError(f"MODEL.WEIGHTS {BACKBONE}{file}: no name in it begins with 'backbone.'")
    # The layers of the pyramid itself are left out.
    return {name: w for name, w in backbone.items() if not name.startswith(("fpn_", "top_block."))}


def _canonical(weights: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The weights as tensors, by Detectron2's names."""
    named = {name: _tensor(weight, name, source) for name, weight in weights.items()}
    if named and all(name.startswith("module.") for name in named):  # saved inside DistributedDataParallel
        named = {name.removeprefix("module."): weight for name, weight in named.items()}
    # Networks of timm can have the same names, but keep them here.
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


def _tensor(weight: Any, name: Any, source: str) -> Tensor:
    if isinstance(weight, np.ndarray) and weight.dtype.kind in "biuf":
        weight = torch.from_numpy(np.asarray(weight, weight.dtype.newbyteorder("=")))
    plain = isinstance(weight, Tensor) and weight.layout == torch.strided and not weight.is_quantized
    if not isinstance(name, str) or not plain or weight.is_complex():
        raise CheckpointError(
            f"MODEL.WEIGHTS {source}: {name!r} must be a weight, not {reprlib.repr(weight)}"
        )
    return weight


_RESNET_PARTS = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}


def torchvision_name(name: str) -> str:
    """The name in Detectron2's ResNets of a parameter of torchvision's."""
    name = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", name)
    name = re.sub(r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
