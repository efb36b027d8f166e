"""What predictions of models cost, beside what their papers say: parameters and multiply-adds.

Counted is what published tools count: the multiply-adds of convolutions, linear layers and this project's
operators, two operations for each value of a norm and one for each of a ReLU or that pooling reads; and
apart from it what they overlook, as they look at layers alone: most of attention. The models have random
weights: what they do for each person they find is counted for those that they find.
"""

import argparse
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
from posecore.data import PersonBoxes, build_samples
from posecore.modeling.backbones.hrformer import WindowAttention
from runs import markdown

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# Papers count one pass through the network, without the flipped image.
ONE_PASS = ("MODEL.POSEUR.FLIP_FUSION", "none")

aten, ours = torch.ops.aten, torch.ops.posecore
Shape = Sequence[int]


def _for_each_read(operations: int) -> Callable[..., int]:
    """So many for each value of the first argument; twice, as torch counts two for a multiply-add."""
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
    *(aten.native_layer_norm, aten.native_group_norm, aten.native_batch_norm),
    *(aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training),
)
_RELUS = (aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_, aten.leaky_relu, aten.leaky_relu_)
_POOLING = (aten.max_pool2d_with_indices, aten.avg_pool2d, aten._adaptive_avg_pool2d)
# What torch's counter does not know.
FORMULAS = {
    **ATTENTION,
    ours.keypoint_sample: _keypoint_sample,
    **dict.fromkeys(_NORMS, _for_each_read(2)),
    **dict.fromkeys((*_RELUS, *_POOLING), _for_each_read(1)),
}


@dataclass(frozen=True)
class Cost:
    """Of one prediction.

    Attributes:
        parameters: trained ones that the prediction reads; others serve training alone.
        training: all trained parameters of the model.
        layers: multiply-adds as published tools count them.
        attention: what comes on top: the operators of :data:`ATTENTION`, and projections by functions
            instead of layers, all of nn.MultiheadAttention's and HRFormer's last.
    """

    parameters: int
    training: int
    layers: int
    attention: int


class _Reads(TorchDispatchMode):
    """Notes which parameters the operators are given."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[int, nn.Parameter] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        self.parameters |= {id(leaf): leaf for leaf in leaves if isinstance(leaf, nn.Parameter)}
        return func(*args, **(kwargs or {}))


def measure(model: nn.Module, inputs: list[dict[str, Any]]) -> Cost:
    """Counts while the model predicts. It is on the CPU: other devices have operators of their own."""
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
    """Names of the modules whose projections published tools do not see."""
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            yield name
        elif isinstance(module, WindowAttention):
            yield f"{name}.out"


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters if parameter.requires_grad)


def example(cfg: CfgNode, size: tuple[int, int]) -> list[dict[str, Any]]:
    """An image of that size, or one crop of the configuration's, in the color that becomes zero: random
    weights make no large numbers of it."""
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
class Row:
    """A line of the table.

    Attributes:
        label: of the model.
        config: the configuration's file.
        overrides: KEY VALUE pairs, flat.
        paper: the paper's "params", in millions, and "GFLOPs", where it gives them.
    """

    label: str
    config: Path
    overrides: Sequence[Any]
    paper: dict[str, float]


def published() -> list[Row]:
    """The papers' figures."""
    papers = yaml.safe_load((CONFIGS / "paper" / "costs.yaml").read_text())
    return [
        Row(f"{method}, {row['row']}", CONFIGS / row["config"], row["overrides"], row["paper"])
        for method, rows in papers.items()
        for row in rows
    ]


def run(args: argparse.Namespace) -> None:
    """Prints a table in Markdown: of the papers' figures, or of chosen configurations."""
    rows = published()
    if args.configs:
        known = {row.config: row.paper for row in rows if not row.overrides and not args.opts}
        files = [
            CONFIGS / name if (CONFIGS / name).is_file() else Path(name).resolve() for name in args.configs
        ]
        rows = [
            Row(label, file, args.opts, known.get(file, {}))
            for label, file in zip(args.configs, files, strict=True)
        ]
    lines = []
    for row in rows:
        torch.manual_seed(0)
        overrides = [*ONE_PASS, *map(str, row.overrides), "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
        cfg = merge_config(get_cfg(), row.config, overrides)
        inputs = example(cfg, args.size)
        cost = measure(build_model(cfg), inputs)
        height, width = inputs[0]["crops" if "crops" in inputs[0] else "image"].shape[-2:]
        lines.append(
            [
                *(row.label, f"{height} x {width}"),
                *(f"{cost.parameters / 1e6:.2f}", f"{cost.training / 1e6:.2f}"),
                *_beside(cost.parameters / 1e6, row.paper.get("params")),
                f"{cost.layers / 1e9:.3f}",
                *_beside(cost.layers / 1e9, row.paper.get("GFLOPs")),
                f"{(cost.layers + cost.attention) / 1e9:.3f}",
            ]
        )
    columns = ["model", "input", "params M", "in training", "paper", "ratio"]
    print(markdown([*columns, "GFLOPs", "paper", "ratio", "with attention"], lines))


def _beside(measured: float, paper: float | None) -> tuple[str, str]:
    return ("", "") if paper is None else (str(paper), f"{measured / paper:.3f}")
