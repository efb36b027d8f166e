"""Saves and loads checkpoints, and checks that weights fit a model: :class:`PoseCheckpointer`."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer
from torch import Tensor, nn

from posecore.checkpoint.files import save_content
from posecore.checkpoint.weights import RANDOM, CheckpointError, read_checkpoint

logger = logging.getLogger(__name__)


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
        unfinished = file.with_suffix(".pth.part")
        save_content(content, unfinished)
        os.replace(unfinished, file)
        self.tag_last_checkpoint(file.name)
        logger.info("Saved %s", file)

    def load(
        self, path: str, checkpointables: list[str] | None = None, *, strict: bool = True
    ) -> dict[str, Any]:
        """Loads weights and the states of checkpointables from a file.

        Args:
            path: as MODEL.WEIGHTS can be (:mod:`posecore.checkpoint.weights`); "" or "random" to load
                nothing.
            checkpointables: names of those to load; None for all.
            strict: whether every weight of the model must be in the file. If not, missing weights keep their
                initialization, with a warning: the rest of the model when the file is a backbone alone, and
                weights of another shape (a head for another number of keypoints).

        Returns:
            Other entries of the file, such as "iteration".

        Raises:
            CheckpointError: the file is unreadable, or of another method, configuration or backbone.
        """
        if path in ("", RANDOM):
            level = logging.WARNING if strict else logging.INFO  # a training may start from nothing
            logger.log(level, "No weights to load: the model starts from its random initialization")
            return {}
        logger.info("Loading %s", path)
        content = read_checkpoint(str(path))
        fitting = fit_weights(content.pop("model"), self.model.state_dict(), str(path), strict=strict)
        self.model.load_state_dict(fitting, strict=False)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key not in content:
                raise CheckpointError(f"{path} has no {key!r}, which a resumed training needs")
            try:
                self.checkpointables[key].load_state_dict(content.pop(key))
            except (ValueError, KeyError) as error:
                raise CheckpointError(f"{path} was trained with another {key}: {error}") from error
        return content

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Loads the last checkpoint of ``save_dir`` to continue from it, or the weights of ``path``.

        Args:
            path: as MODEL.WEIGHTS can be.
            resume: whether to continue from the last checkpoint, if there is one.

        Returns:
            Other entries of the last checkpoint, as :meth:`load` returns them; empty if ``path`` was loaded.
        """
        if resume and self.has_checkpoint():
            return self.load(self.get_checkpoint_file())
        self.load(path, checkpointables=[], strict=False)
        return {}


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
    stages = {name.removeprefix(prefix).split(".")[0] for name in known}
    deeper = [name for name in unknown if name.removeprefix(prefix).split(".")[0] in stages]
    for names, problem in ((absent, "it lacks"), (deeper, "it also has"), (shapes, "shapes differ:")):
        if names:
            raise CheckpointError(
                f"MODEL.WEIGHTS {source} is of another backbone than the model's: {problem} {_list(names)}"
            )


def _list(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "nothing else"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
