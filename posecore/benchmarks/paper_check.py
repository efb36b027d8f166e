"""Checks that every row of the papers' tables can be trained and used: :func:`check_rows`.

Each row's model is built on the CPU at its full size, makes one training step on drawn images and predicts
one of them, and its parameters and multiply-adds are compared with the papers' figures where
configs/paper/costs.yaml has any. Weights are random, so nothing is said of accuracies.
"""

import gc
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage
from torch import nn

from posecore.benchmarks.cost import ONE_PASS, Cost, CostRow, example, measure, published_rows
from posecore.benchmarks.model import prepare_random_weights
from posecore.config import get_cfg
from posecore.config.errors import UsageError
from posecore.config.merge import merge_config
from posecore.data import build_test_loader, build_train_loader
from posecore.data.synthetic import make_dataset
from posecore.engine.markdown import markdown_table
from posecore.engine.paper_tables import TableRow
from posecore.engine.solver import build_gradient_clipper, build_optimizer
from posecore.engine.step import TrainingStep
from posecore.modeling.build import build_model
from posecore.modeling.tta import with_tta

# Height and width of the drawn images, and of those whose multiply-adds are counted.
DRAWN_SIZE = (128, 160)
COST_SIZE = (800, 1216)
# The greatest differences to a paper's parameters and multiply-adds, as shares of them, that are no remark.
TOLERANCES = {"params": 0.02, "GFLOPs": 0.1}
# What makes a row small and independent of files; the model itself is that of the row.
OVERRIDES = (
    *("MODEL.DEVICE", "cpu"),
    *("MODEL.WEIGHTS", "random"),
    *("DATALOADER.NUM_WORKERS", "0"),
    *("INPUT.MIN_SIZE_TRAIN_SAMPLING", "choice"),
    *("INPUT.MIN_SIZE_TRAIN", f"({DRAWN_SIZE[0]},)"),
    *("INPUT.MAX_SIZE_TRAIN", str(2 * DRAWN_SIZE[1])),
    *("INPUT.MIN_SIZE_TEST", str(DRAWN_SIZE[0])),
    *("INPUT.CROP.ENABLED", "False"),
    *("TEST.AUG.MIN_SIZES", f"({DRAWN_SIZE[0]}, {2 * DRAWN_SIZE[0]})"),
    *("SOLVER.IMS_PER_BATCH", "2"),
    *("TEST.NUM_PREVIEWS", "0"),
    *("SEED", "0"),
)


@dataclass(frozen=True)
class RowCheck:
    """The check of a row.

    Attributes:
        name: of the row.
        parameters: trained parameters of the model; None where it could not be built.
        loss: of the training step, the sum of all losses.
        poses: of the prediction.
        gflops: multiply-adds of a prediction in units of 10^9; None where the papers give none.
        paper: the papers' figures for this model, "params" in millions and "GFLOPs".
        predicted_parameters: trained parameters that a prediction reads; None where the papers give none.
        seconds: that the check took.
        error: why the row fails; "" for one that passes.
    """

    name: str
    parameters: int | None = None
    loss: float | None = None
    poses: int | None = None
    gflops: float | None = None
    predicted_parameters: int | None = None
    paper: dict[str, float] | None = None
    seconds: float = 0.0
    error: str = ""

    def remarks(self) -> list[str]:
        """Differences to the paper's figures that are above :data:`TOLERANCES`."""
        ours = {
            "params": None if self.predicted_parameters is None else self.predicted_parameters / 1e6,
            "GFLOPs": self.gflops,
        }
        found = []
        for name, figure in (self.paper or {}).items():
            value = ours[name]
            if value is not None and abs(value / figure - 1) > TOLERANCES[name]:
                found.append(f"{name} {value:.2f} instead of {figure}")
        return found


def check_rows(rows: Iterable[TableRow]) -> Iterator[RowCheck]:
    """Checks rows one after the other; an error in one does not stop the others."""
    published = [(_model_text(_row_cfg(row.config_file, row.overrides)), row) for row in published_rows()]
    for row in rows:
        start = time.perf_counter()
        try:
            check = _check(row, published)
        # Whatever a model raises is the result of its row.
        except Exception as error:
            check = RowCheck(row.name, error=f"{type(error).__name__}: {' '.join(str(error).split())}")
        yield RowCheck(**{**check.__dict__, "seconds": time.perf_counter() - start})
        gc.collect()


def shard(rows: Sequence[TableRow], text: str) -> list[TableRow]:
    """The rows of one of several processes that share them.

    Args:
        rows: all of them.
        text: "i/n" for the i-th of n, from 1.

    Raises:
        UsageError: the text is none of these.
    """
    first, slash, count = text.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UsageError(f"--shard must be i/n with i from 1 to n, such as 1/4, not {text!r}")
    return list(rows[int(first) - 1 :: int(count)])


def check_table(checks: Iterable[RowCheck]) -> str:
    """The checks as a table in Markdown."""
    lines = []
    for check in checks:
        paper = check.paper or {}
        lines.append(
            [
                check.name,
                _millions(check.parameters),
                _millions(check.predicted_parameters),
                str(paper.get("params", "")),
                "" if check.gflops is None else f"{check.gflops:.2f}",
                str(paper.get("GFLOPs", "")),
                "" if check.loss is None else f"{check.loss:.3f}",
                "" if check.poses is None else str(check.poses),
                check.error or "; ".join(check.remarks()) or "ok",
            ]
        )
    columns = ["row", "params M", "in a prediction", "paper", "GFLOPs", "paper", "loss", "poses", "result"]
    return markdown_table(columns, lines)


def _check(row: TableRow, published: Sequence[tuple[str, CostRow]]) -> RowCheck:
    cfg = _row_cfg(row.config_file, row.overrides)
    paper: dict[str, float] = {}
    for text, cost_row in published:
        if text == _model_text(cfg):
            paper = {**cost_row.paper, **paper}
    with tempfile.TemporaryDirectory(prefix="posecore-paper-check-") as folder:
        skeleton = cfg.DATASETS.SKELETON
        definition = make_dataset(
            folder, num_images=2, size=DRAWN_SIZE, skeleton=skeleton, people=(1, 2), name="drawn"
        )
        data = ("DATASETS.DEFINITIONS", f"('{definition}',)", "DATASETS.TRAIN", "('drawn_train',)")
        boxes = ("INPUT.CROPS.BOXES", "ground_truth", "DATASETS.TEST", "('drawn_train',)")
        cfg = merge_config(
            get_cfg(), row.config_file, [*row.overrides, *OVERRIDES, *data, *boxes, "OUTPUT_DIR", folder]
        )
        torch.manual_seed(0)
        model = prepare_random_weights(build_model(cfg))
        with EventStorage():  # Detectron2's region heads record what they sample
            loss = _train(cfg, model)
        poses = _predict(cfg, model)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    del model  # before another one is built
    cost = _cost(row) if paper else None
    return RowCheck(
        row.name,
        parameters=parameters,
        loss=loss,
        poses=poses,
        gflops=None if cost is None else cost.layers / 1e9,
        predicted_parameters=None if cost is None else cost.parameters,
        paper=paper,
    )


def _train(cfg: CfgNode, model: nn.Module) -> float:
    """The loss of one step, after which all weights must be finite."""
    step = TrainingStep(
        model.train(), build_optimizer(cfg, model), clip_gradients=build_gradient_clipper(cfg)
    )
    loss = step(next(iter(build_train_loader(cfg, seed=0))))["total_loss"]
    if not all(math.isfinite(float(parameter.detach().sum())) for parameter in model.parameters()):
        raise FloatingPointError("a weight is not finite after the training step")
    return loss


def _predict(cfg: CfgNode, model: nn.Module) -> int:
    """The number of poses in an image, which must have finite keypoints."""
    images, predict = with_tta(cfg, model)
    predict.eval()
    with torch.no_grad():
        (output,) = predict(next(iter(build_test_loader(images, cfg.DATASETS.TEST[0]))))
    if not bool(output["instances"].pred_keypoints.isfinite().all()):
        raise FloatingPointError("a predicted keypoint is not finite")
    return len(output["instances"])


def _cost(row: TableRow) -> Cost:
    """The cost of one pass of a fresh model, whose numbers a training step has not changed."""
    torch.manual_seed(0)
    cfg = merge_config(
        get_cfg(), row.config_file, [*row.overrides, *ONE_PASS, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]
    )
    return measure(build_model(cfg), example(cfg, COST_SIZE))


def _row_cfg(config_file: Path, overrides: Sequence[Any]) -> CfgNode:
    return merge_config(get_cfg(), config_file, [*map(str, overrides), *ONE_PASS])


def _model_text(cfg: CfgNode) -> str:
    """What decides the cost of a model, as text: two rows with the same text have the same cost."""
    node = cfg.MODEL.clone()
    node.defrost()
    node.WEIGHTS = ""
    return f"{node.dump()}{cfg.INPUT.get('CROPS')}{cfg.DATASETS.SKELETON}{cfg.INPUT.SAMPLES}"


def _millions(number: int | None) -> str:
    return "" if number is None else f"{number / 1e6:.2f}"
