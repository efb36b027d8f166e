"""Counts the parameters and multiply-adds of predictions, beside the papers' figures (:func:`cost_table`).

:func:`measure` counts what published tools count: the multiply-adds of convolutions, linear layers and this
project's operators, two operations for each value of a norm, one for each value of a ReLU or that pooling
reads. Such tools look at layers alone and so overlook most of attention, which is counted apart. The models
have random weights; work per person is counted for the persons that they find.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from posecore import ops as _ops  # noqa: F401  (registers the operators)
from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS
from posecore.data import PersonBoxes, build_samples
from posecore.engine.markdown import markdown_table
from posecore.modeling.backbones.hrformer import WindowAttention

# Papers count one pass through the network, without the flipped image.
ONE_PASS = ("MODEL.POSEUR.FLIP_FUSION", "none")

aten, ours = torch.ops.aten, torch.ops.posecore
Shape = Sequence[int]


def _for_each_read(operations: int) -> Callable[..., int]:
    """Operations for each value of the first argument; doubled, as torch counts two for a multiply-add."""
    return lambda values, *_, **__: 2 * operations * prod(values)


def _keypoint_sample(value: Shape, points: Shape, images: Shape, *, out_shape: Shape) -> int:
    return 2 * 4 * prod(out_shape)  # a bilinear read has four


def _ms_deform_attn(value: Shape, shapes: Any, locations: Shape, weights: Shape, **_: Any) -> int:
    return 2 * (4 + 1) * prod(weights) * value[-1]


def _products_of_attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)


# Products of queries with keys and of weights with values; reads of deformable attention.
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu: _products_of_attention,
    ours.ms_deform_attn: _ms_deform_attn,
}
_NORMS = (
    aten.native_layer_norm,
    aten.native_group_norm,
    aten.native_batch_norm,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_no_training,
)
_RELUS = (aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_, aten.leaky_relu, aten.leaky_relu_)
_POOLING = (aten.max_pool2d_with_indices, aten.avg_pool2d, aten._adaptive_avg_pool2d)
# Operators that torch's counter does not know.
FORMULAS = {
    **ATTENTION,
    ours.keypoint_sample: _keypoint_sample,
    **dict.fromkeys(_NORMS, _for_each_read(2)),
    **dict.fromkeys((*_RELUS, *_POOLING), _for_each_read(1)),
}


@dataclass(frozen=True)
class Cost:
    """The cost of one prediction.

    Attributes:
        parameters: trained parameters that the prediction reads; others serve training alone.
        training: all trained parameters of the model.
        layers: multiply-adds as published tools count them.
        attention: multiply-adds on top: the operators of :data:`ATTENTION`, and projections by functions
            instead of layers, all of nn.MultiheadAttention's and HRFormer's last.
    """

    parameters: int
    training: int
    layers: int
    attention: int


class _Reads(TorchDispatchMode):
    """Records which parameters the operators are given."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[int, nn.Parameter] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        self.parameters |= {id(leaf): leaf for leaf in leaves if isinstance(leaf, nn.Parameter)}
        return func(*args, **(kwargs or {}))


def measure(model: nn.Module, inputs: list[dict[str, Any]]) -> Cost:
    """The cost of a model on these inputs; the model is on the CPU, whose operators are known here."""
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    reads = _Reads()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator for whole layers
    try:
        with torch.no_grad(), counter, reads:
            model.eval()(inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    counts = counter.get_flop_counts()
    attention = sum(counts["Global"].get(operator, 0) for operator in ATTENTION)
    for name in _overlooked(model):
        within = counts.get(f"{type(model).__name__}.{name}", {})
        attention += sum(count for operator, count in within.items() if operator not in ATTENTION)
    return Cost(
        parameters=_count(reads.parameters.values()),
        training=_count(model.parameters()),
        layers=(counter.get_total_flops() - attention) // 2,
        attention=attention // 2,
    )


def _overlooked(model: nn.Module) -> Iterator[str]:
    """Names of the modules whose projections published tools overlook."""
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            yield name
        elif isinstance(module, WindowAttention):
            yield f"{name}.out"


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)


def example(cfg: CfgNode, size: tuple[int, int]) -> list[dict[str, Any]]:
    """One input of a configuration's model: an image of that (height, width), or one crop of it.

    Its color is the mean, which becomes zero: random weights make no large numbers of it.
    """
    color = np.asarray(cfg.MODEL.PIXEL_MEAN).round().astype(np.uint8)
    height, width = size
    samples = build_samples(cfg)
    if samples.needs_boxes:
        rgb = color if cfg.INPUT.FORMAT == "RGB" else color[::-1]
        everything = PersonBoxes(np.array([[0.0, 0.0, width, height]]), np.ones(1))
        return [samples.sample(np.broadcast_to(rgb, (height, width, 3)), everything)]
    image = torch.from_numpy(color)[:, None, None].expand(3, height, width)
    return [{"image": image, "height": height, "width": width}]


@dataclass(frozen=True)
class CostRow:
    """A row of the table.

    Attributes:
        label: of the model.
        config_file: its configuration.
        overrides: KEY VALUE pairs, flat.
        paper: the paper's "params", in millions, and "GFLOPs", where it gives them.
    """

    label: str
    config_file: Path
    overrides: Sequence[Any]
    paper: dict[str, float]


def published_rows(configs: Path = CONFIGS) -> list[CostRow]:
    """The papers' figures: the rows of paper/costs.yaml in a folder of configurations."""
    papers = yaml.safe_load((configs / "paper" / "costs.yaml").read_text())
    return [
        CostRow(f"{method}, {row['row']}", configs / row["config"], row["overrides"], row["paper"])
        for method, rows in papers.items()
        for row in rows
    ]


def chosen_rows(names: Sequence[str], overrides: Sequence[str], configs: Path = CONFIGS) -> list[CostRow]:
    """Rows of chosen configurations, with the papers' figures where they are known.

    Args:
        names: files, below ``configs`` or anywhere.
        overrides: KEY VALUE pairs for all of them, flat; the papers say nothing of changed ones.
        configs: the folder of configurations.
    """
    known = {
        row.config_file: row.paper for row in published_rows(configs) if not (row.overrides or overrides)
    }
    files = [configs / name if (configs / name).is_file() else Path(name).resolve() for name in names]
    return [
        CostRow(name, file, overrides, known.get(file, {})) for name, file in zip(names, files, strict=True)
    ]


def cost_table(rows: Iterable[CostRow], size: tuple[int, int]) -> str:
    """A table in Markdown: millions of parameters and GFLOPs, and their ratios to the papers' figures.

    Args:
        rows: the models.
        size: height and width of the image; models that take crops get one of their own size.
    """
    lines = []
    for row in rows:
        torch.manual_seed(0)
        overrides = [*ONE_PASS, *map(str, row.overrides), "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
        cfg = merge_config(get_cfg(), row.config_file, overrides)
        inputs = example(cfg, size)
        cost = measure(build_model(cfg), inputs)
        height, width = inputs[0]["crops" if "crops" in inputs[0] else "image"].shape[-2:]
        lines.append(
            [
                row.label,
                f"{height} x {width}",
                f"{cost.parameters / 1e6:.2f}",
                f"{cost.training / 1e6:.2f}",
                *_beside(cost.parameters / 1e6, row.paper.get("params")),
                f"{cost.layers / 1e9:.3f}",
                *_beside(cost.layers / 1e9, row.paper.get("GFLOPs")),
                f"{(cost.layers + cost.attention) / 1e9:.3f}",
            ]
        )
    columns = ["model", "input", "params M", "in training", "paper", "ratio"]
    return markdown_table([*columns, "GFLOPs", "paper", "ratio", "with attention"], lines)


def _beside(measured: float, paper: float | None) -> tuple[str, str]:
    """Cells of the paper's figure and of the ratio to it."""
    return ("", "") if paper is None else (str(paper), f"{measured / paper:.3f}")
