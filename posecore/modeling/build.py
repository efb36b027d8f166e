"""Builds the model of a configuration: :func:`build_model` for training, :func:`build_inference_model`.

They are Detectron2's ``build_model`` with errors that name the key, and with the keys of speed:
MODEL.CHANNELS_LAST and MODEL.COMPILE.
"""

import difflib
from collections.abc import Callable
from typing import Any

import detectron2.modeling
import torch
from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes
from torch.utils._pytree import tree_map_only

from posecore.config.device import check_device, find_device
from posecore.config.options import choice
from posecore.layers.precision import PRECISIONS
from posecore.layers.same_padding import fix_divisible_same_padding
from posecore.modeling.estimator import PoseEstimator

# The values of MODEL.COMPILE_BACKEND, torch.compile's names.
COMPILE_BACKENDS = {name: name for name in ("inductor", "aot_eager", "eager")}


def build_model(cfg: CfgNode) -> nn.Module:
    """The model of MODEL.META_ARCHITECTURE on MODEL.DEVICE, as ``detectron2.modeling.build_model`` has it.

    With MODEL.CHANNELS_LAST its maps lie in memory by pixels instead of channels; with MODEL.COMPILE its
    dense modules are compiled when they are first called.

    Raises:
        ValueError: MODEL.META_ARCHITECTURE or MODEL.BACKBONE.NAME is not registered, MODEL.DEVICE is not
            there, or MODEL.COMPILE is combined with activation checkpointing.
    """
    model = _build(cfg)
    if cfg.MODEL.CHANNELS_LAST:
        to_channels_last(model)
    if cfg.MODEL.COMPILE:
        backend = choice(cfg, "MODEL.COMPILE_BACKEND", COMPILE_BACKENDS)
        if cfg.MODEL.BACKBONE.ACTIVATION_CHECKPOINTING:
            raise ValueError(
                "MODEL.COMPILE and MODEL.BACKBONE.ACTIVATION_CHECKPOINTING cannot be combined: one of them "
                "must be False"
            )
        compile_dense_modules(model, backend)
    return model


def build_inference_model(cfg: CfgNode) -> nn.Module:
    """The model for evaluations and predictions in TEST.PRECISION.

    It is that of :func:`build_model`; in half precision its maps always lie in memory by pixels, because the
    two together are fastest.
    """
    model = build_model(cfg)
    if inference_precision(cfg) is not None:
        to_channels_last(model)
    return model


def inference_precision(cfg: CfgNode) -> torch.dtype | None:
    """The half-precision type that TEST.PRECISION names; None for float32."""
    return choice(cfg, "TEST.PRECISION", PRECISIONS)


def to_channels_last(model: nn.Module) -> None:
    """Stores the weights of all 2D convolutions by pixels, so that these compute such maps; in place."""
    model.to(memory_format=torch.channels_last)


def compile_dense_modules(model: nn.Module, backend: str | Callable[..., Any]) -> None:
    """Compiles the modules that compute whole maps, for any size of the image; in place.

    With "inductor", the compiler that generates code, their maps lie in memory by pixels, as with
    :func:`to_channels_last`.

    Args:
        model: of a :class:`PoseEstimator` its ``dense_modules()``, otherwise its backbone.
        backend: as ``torch.compile`` takes it.
    """
    # Otherwise sizes that are equal at first, such as those of square images, get one symbol, and the first
    # images of another form are compiled again, which takes minutes. There is no public setting.
    symbolic_shapes.use_duck_shape = False
    modules = model.dense_modules() if isinstance(model, PoseEstimator) else [model.get_submodule("backbone")]
    options = None
    if backend == "inductor":
        # Gradients of maps that lie by channels are compiled again for every size, and those of maps of which
        # only some lie by pixels fail at the second one (torch 2.14).
        to_channels_last(model)
        for module in modules:
            module.register_forward_pre_hook(_by_pixels)
        options = {"force_layout_optimization": True}
    for module in modules:
        fix_divisible_same_padding(module)
        module.compile(dynamic=True, backend=backend, options=options)


def _by_pixels(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a module, with all maps among them by pixels."""
    return tree_map_only(Tensor, _map_by_pixels, inputs)


def _map_by_pixels(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def _build(cfg: CfgNode) -> nn.Module:
    device = find_device(cfg.MODEL.DEVICE)
    check_device(device)
    for key, name, registry in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
    ):
        if name not in registry:
            known = [other for other, _ in registry]
            near = difflib.get_close_matches(name, known, n=3)
            raise ValueError(
                f"{key} {name!r} is not known: it must be one of {', '.join(near or sorted(known))}"
            )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device  # "auto" may have been assigned instead of merged
    cfg.freeze()
    return detectron2.modeling.build_model(cfg)
