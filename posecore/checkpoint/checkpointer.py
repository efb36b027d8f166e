"""Saves and loads checkpoints, and checks that weights fit a model: :class:`PoseCheckpointer`."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer
from torch import Tensor, nn

from posecore.checkpoint.files import PART, save_content, write_whole
from posecore.checkpoint.packages import check_timm_model
from posecore.checkpoint.states import check_state
from posecore.checkpoint.weights import RANDOM, CheckpointError, read_checkpoint
from posecore.config.options import choice

logger = logging.getLogger(__name__)

# Which weights of a checkpoint are loaded: those that the optimizer has changed, their moving averages, or
# the averages where there are any.
WeightChoice = Literal["trained", "averaged", "auto"]
WEIGHT_CHOICES: dict[str, WeightChoice] = {"auto": "auto", "averaged": "averaged", "trained": "trained"}
# The entry of a checkpoint that holds the state of a ``torch.optim.swa_utils.AveragedModel``.
AVERAGES = "ema"

# The file that names the last checkpoint.
TAG = "last_checkpoint"


def weight_choice(cfg: CfgNode) -> WeightChoice:
    """The weights that TEST.WEIGHTS names."""
    return choice(cfg, "TEST.WEIGHTS", WEIGHT_CHOICES)


class PoseCheckpointer(Checkpointer):
    """Saves a model with the state of its training; loads such checkpoints and weights from other sources.

    It differs from Detectron2's ``DetectionCheckpointer`` in three ways: files cannot run code, weights that
    do not fit the model are an error (see :meth:`load`), and a checkpoint is written only as a whole and if
    all weights are finite.

    Args:
        model: in ``DistributedDataParallel`` or not.
        save_dir: folder of the checkpoints.
        save_to_disk: whether this process writes files; by default only the main process does.
        checkpointables: objects with ``state_dict()`` and ``load_state_dict()`` of tensors and plain
            values; they are saved under their names.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        if save_to_disk is None:
            save_to_disk = comm.is_main_process()
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.path_manager = PathManager

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes ``save_dir``/``name``.pth with the model, the checkpointables and ``kwargs``.

        Raises:
            FloatingPointError: a weight is infinite or NaN. The last checkpoint remains the last.
            OSError: the file cannot be written. The last checkpoint remains the last.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        weights = self.model.state_dict()
        for key, weight in weights.items():
            if weight.is_floating_point() and not weight.isfinite().all():
                raise FloatingPointError(f"{key} is not finite; {name}.pth is not saved")
        content = {"model": weights}
        content.update({key: item.state_dict() for key, item in self.checkpointables.items()}, **kwargs)
        file = Path(self.save_dir, f"{name}.pth")
        write_whole(file, lambda unfinished: save_content(content, unfinished))
        self.tag_last_checkpoint(file.name)
        logger.info("Saved %s", file)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Writes the name of the last checkpoint to the file last_checkpoint, as a whole."""
        tag = Path(self.save_dir, TAG)
        write_whole(tag, lambda unfinished: unfinished.write_text(last_filename_basename))

    def has_checkpoint(self) -> bool:
        """Whether :meth:`get_checkpoint_file` finds one."""
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """The last checkpoint of ``save_dir``; "" if there is none.

        It is the one that the file last_checkpoint names. Where that file is missing or empty, or names
        nothing that exists, it is the newest whole checkpoint of a training, and a warning says so.
        """
        folder = Path(self.save_dir)
        tag = folder / TAG
        name = tag.read_bytes().decode(errors="replace").strip() if tag.is_file() else ""
        if name and "\0" not in name and (folder / name).is_file():
            return str(folder / name)
        newest = _newest_whole(folder)
        if newest is not None:
            state = f"names {name!r}, which does not exist" if name else "is empty or missing"
            logger.warning("%s %s; %s is the newest whole checkpoint and is taken", tag, state, newest.name)
        elif tag.exists():
            logger.warning("%s names no checkpoint that exists, and there is no other", tag)
        return str(newest or "")

    def load(
        self,
        path: str,
        checkpointables: list[str] | None = None,
        *,
        strict: bool = True,
        weights: WeightChoice = "auto",
    ) -> dict[str, Any]:
        """Loads weights and the states of checkpointables from a file.

        Args:
            path: as MODEL.WEIGHTS can be (:mod:`posecore.checkpoint.weights`); "" or "random" to load
                nothing.
            checkpointables: names of those to load; None for all.
            strict: whether every weight of the model must be in the file. If not, missing weights keep their
                initialization, with a warning: the rest of the model when the file is a backbone alone, and
                weights of another shape (a head for another number of keypoints). Another warning names
                those of them that will not be trained either.
            weights: which weights of a checkpoint that also holds averages.

        Returns:
            Other entries of the file, such as "iteration".

        Raises:
            CheckpointError: the file is unreadable, or of another method, configuration or backbone, or it
                has no averages and ``weights`` is "averaged".
        """
        if path in ("", RANDOM):
            level = logging.WARNING if strict else logging.INFO  # a training may start from nothing
            logger.log(level, "No weights to load: the model starts from its random initialization")
            if not strict:
                _warn_of_frozen(self.model, {})
            return {}
        logger.info("Loading %s", path)
        check_timm_model(str(path), self.model)
        content = read_checkpoint(str(path))
        chosen = chosen_weights(content, weights, str(path))
        fitting = fit_weights(chosen, self.model.state_dict(), str(path), strict=strict)
        self.model.load_state_dict(fitting, strict=False)
        if not strict:
            _warn_of_frozen(self.model, fitting)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key not in content:
                raise CheckpointError(f"{path} has no {key!r}, which a resumed training needs")
            state = content.pop(key)
            try:
                check_state(state, self.checkpointables[key])
                self.checkpointables[key].load_state_dict(state)
            except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                raise CheckpointError(
                    f"{path} was trained with another {key}, or its {key} is broken: {error}"
                ) from error
        return content

    def resume_or_load(
        self, path: str, *, resume: bool = True, weights: WeightChoice = "auto"
    ) -> dict[str, Any]:
        """Loads the last checkpoint of ``save_dir`` to continue from it, or the weights of ``path``.

        Args:
            path: as MODEL.WEIGHTS can be.
            resume: whether to continue from the last checkpoint, if there is one.
            weights: which weights of ``path``; a training is continued from the trained ones.

        Returns:
            Other entries of the last checkpoint, as :meth:`load` returns them; empty if ``path`` was loaded.
        """
        if resume and self.save_to_disk:
            self._remove_unfinished()
        if resume and (last := self.get_checkpoint_file()):
            return self.load(last, weights="trained")
        self.load(path, checkpointables=[], strict=False, weights=weights)
        return {}

    def _remove_unfinished(self) -> None:
        """Removes what a save that was interrupted left beside the checkpoints."""
        for file in sorted(Path(self.save_dir).glob(f"*{PART}")):
            if file.name.endswith((f".pth{PART}", f"{TAG}{PART}")):
                file.unlink(missing_ok=True)
                logger.warning("Removed %s, which an interrupted save left", file)


def chosen_weights(content: dict[str, Any], weights: WeightChoice, source: str) -> dict[str, Tensor]:
    """Takes those weights out of a checkpoint's content that are to be loaded.

    Args:
        content: of the checkpoint; the weights are removed from it.
        weights: which ones.
        source: for messages.

    Raises:
        CheckpointError: "averaged" is chosen, and there are no averages, or they are broken.
    """
    trained = content.pop("model")
    averages: Any = content.get(AVERAGES)
    # Other libraries may have an entry of the same name.
    has_averages = isinstance(averages, Mapping) and "n_averaged" in averages
    if weights == "trained" or (weights == "auto" and not has_averages):
        return trained
    if not has_averages:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source} has no averaged weights, which TEST.WEIGHTS 'averaged' asks for: it "
            "must be a checkpoint of a training with SOLVER.EMA.ENABLED"
        )
    del content[AVERAGES]
    prefix = "module."
    names = {name: prefix + name for name in trained}
    if any(not isinstance(averages.get(name), Tensor) for name in names.values()):
        raise CheckpointError(f"MODEL.WEIGHTS {source}: its averaged weights ({AVERAGES!r}) are not complete")
    logger.info("%s: its averaged weights are taken", source)
    return {name: averages[key] for name, key in names.items()}


def _newest_whole(folder: Path) -> Path | None:
    """The newest checkpoint of a training in a folder that can be read to its end."""
    for file in sorted(folder.glob("model_*.pth"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            content = read_checkpoint(str(file))
        except CheckpointError as error:
            logger.warning("%s is passed over: %s", file, error)
            continue
        if content.keys() >= {"model", "optimizer", "iteration"}:
            return file
    return None


def fit_weights(
    weights: Mapping[str, Tensor], model: Mapping[str, Tensor], source: str, *, strict: bool
) -> dict[str, Tensor]:
    """The weights of a file that fit a model, by the model's names.

    Args:
        weights: by the names of the model, or of a backbone alone.
        model: the model's ``state_dict()``.
        source: for messages.
        strict: as in :meth:`PoseCheckpointer.load`.

    Raises:
        CheckpointError: as in :meth:`PoseCheckpointer.load`.
    """
    prefix = _common_prefix(weights, model)
    weights = {prefix + name: weight for name, weight in weights.items()}
    missing = [name for name in model if name not in weights and _is_weight(name)]
    unknown = [name for name in weights if name not in model and _is_weight(name)]
    reshaped = [name for name in weights if name in model and weights[name].shape != model[name].shape]
    fitting = {name: weight for name, weight in weights.items() if name in model and name not in reshaped}
    _check_values(fitting, model, source)
    shapes = [f"{name} {tuple(weights[name].shape)} for {tuple(model[name].shape)}" for name in reshaped]
    if prefix:
        _check_backbone(prefix, weights, missing, unknown, shapes, source)
    elif not fitting or (missing and unknown):
        raise CheckpointError(
            f"MODEL.WEIGHTS {source} is a checkpoint of another method or config: it has {_list(unknown)}, "
            f"while the model needs {_list(missing)}"
        )
    if strict and missing:
        raise CheckpointError(f"MODEL.WEIGHTS {source} is incomplete: it lacks {_list(missing)}")
    if strict and shapes:
        raise CheckpointError(
            f"MODEL.WEIGHTS {source} is of another size, perhaps of another skeleton: {_list(shapes)}"
        )
    for names, problem in (
        (missing, "are missing in the file and keep their initialization"),
        (shapes, "have another shape in the file and keep their initialization"),
        (unknown, "of the file are not in the model and are not loaded"),
    ):
        if names:
            logger.warning("%s: %d weights %s: %s", source, len(names), problem, _list(names))
    return fitting


def _warn_of_frozen(model: nn.Module, loaded: Mapping[str, Tensor]) -> None:
    """Warns of parameters that stay random: those that are neither trained nor loaded."""
    names = [
        name for name, value in model.named_parameters() if not value.requires_grad and name not in loaded
    ]
    if names:
        logger.warning(
            "%d weights stay at their random initialization, because MODEL.WEIGHTS does not have them and "
            "they are not trained (0 for MODEL.BACKBONE.FREEZE_AT or MODEL.TIMM.FREEZE_STRIDE trains them): "
            "%s",
            len(names),
            _list(names),
        )


def _check_values(weights: Mapping[str, Tensor], model: Mapping[str, Tensor], source: str) -> None:
    """Checks that weights are finite numbers of the model's kind, and says where their precision differs."""
    for name, weight in weights.items():
        if weight.is_floating_point() != model[name].is_floating_point():
            raise CheckpointError(
                f"MODEL.WEIGHTS {source}: {name} is {weight.dtype}, but {model[name].dtype} in the model"
            )
        if weight.is_floating_point() and not weight.isfinite().all():
            raise CheckpointError(f"MODEL.WEIGHTS {source}: {name} is not finite")
    other = [name for name, weight in weights.items() if weight.dtype.itemsize < model[name].dtype.itemsize]
    if other:
        first = other[0]
        logger.warning(
            "%s: %d weights have a lower precision than the model (%s instead of %s): %s",
            source,
            len(other),
            weights[first].dtype,
            model[first].dtype,
            _list(other),
        )


def _common_prefix(weights: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> str:
    """The prefix that most names of the file have in the model; "" for a checkpoint of this model."""
    found: Counter[str] = Counter()
    for name in model:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in weights:
                found[".".join([*parts[:start], ""])] += 1
    return found.most_common(1)[0][0] if found else ""


def _is_weight(name: str) -> bool:
    """Whether a name is a weight, not a counter or a constant of the configuration."""
    return not name.endswith((".num_batches_tracked", "pixel_mean", "pixel_std"))


def _check_backbone(
    prefix: str,
    weights: Mapping[str, Tensor],
    missing: Sequence[str],
    unknown: Sequence[str],
    shapes: Sequence[str],
    source: str,
) -> None:
    """Checks that the weights of a backbone are complete, and are not the first layers of a deeper one."""
    absent = [name for name in missing if name.startswith(prefix)]
    if not any(name.endswith("running_var") for name in weights):
        # Caffe2's files have the statistics folded into the affine weights, and Detectron2's FrozenBN starts
        # with the statistics of the identity.
        absent = [name for name in absent if not name.endswith(("running_mean", "running_var"))]
    known = [name for name in weights if name not in unknown and _is_weight(name)]
    stages = {_stage(name.removeprefix(prefix)) for name in known}
    deeper = [name for name in unknown if _stage(name.removeprefix(prefix)) in stages]
    for names, problem in ((absent, "it lacks"), (deeper, "it also has"), (shapes, "shapes differ:")):
        if names:
            raise CheckpointError(
                f"MODEL.WEIGHTS {source} is of another backbone than the model's: {problem} {_list(names)}"
            )


def _stage(name: str) -> str:
    """The stage of a parameter of a backbone: "res4", or "blocks.5" of timm's EfficientNets and MobileNets.

    A backbone that returns no map of the last stages does not have them; the file may.
    """
    first, second, *_ = [*name.removeprefix("body.").split("."), ""]
    return f"{first}.{second}" if first == "blocks" else first


def _list(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "nothing else"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
