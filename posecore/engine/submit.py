"""Submissions to COCO's keypoint server from a model or from a results file (:func:`make_submission`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecore.checkpoint.weights import require_weights
from posecore.config import get_cfg
from posecore.config.merge import UsageError, merge_config
from posecore.data import dataset_metadata, read_coco
from posecore.engine.run import Run, run_command
from posecore.evaluation.submission import best_of_each_image, read_coco_results, write_submission
from posecore.structures.skeleton import load_skeleton

# The server's name of a split -> our dataset.
SPLITS = {"test-dev2017": "keypoints_coco_2017_test-dev", "val2017": "keypoints_coco_2017_val"}


@dataclass(frozen=True)
class Submission:
    """A written submission.

    Attributes:
        archive: the file to upload.
        num_poses: poses in it.
        num_images: images that have one at least.
        num_dataset_images: images of the dataset.
    """

    archive: Path
    num_poses: int
    num_images: int
    num_dataset_images: int


def make_submission(
    config_file: Path,
    overrides: Sequence[str],
    *,
    output: Path,
    algorithm: str,
    split: str = "test-dev2017",
    results_file: Path | None = None,
    launcher: str = "",
    num_gpus: int = 1,
) -> Submission:
    """Evaluates a model, or reads results that are there already, and packs them for the server.

    Args:
        config_file: the model's configuration.
        overrides: KEY VALUE pairs, MODEL.WEIGHTS among them.
        output: folder of the archive, and of the evaluation.
        algorithm: the method's name on the server: letters, digits, ``.``, ``_`` and ``-``.
        split: a key of :data:`SPLITS`.
        results_file: results in COCO's format, instead of an evaluation.
        launcher, num_gpus: see :meth:`posecore.engine.run.Run.command`.

    Raises:
        UsageError: the evaluation fails or writes no results, or an entry of the results is wrong; then no
            archive is written.
        CheckpointError: there are neither results nor weights.
        FileNotFoundError: the dataset or the results file is missing.
    """
    cfg = merge_config(get_cfg(), config_file, overrides)
    skeleton = load_skeleton(cfg.DATASETS.SKELETON)
    dataset = SPLITS[split]
    images = read_coco(dataset_metadata(dataset).json_file, skeleton)["images"]
    if results_file is None:
        run = Run(algorithm, config_file, (*overrides, "DATASETS.TEST", repr((dataset,))), output)
        require_weights(cfg.MODEL.WEIGHTS)
        results_file = output / "inference" / dataset / "coco_instances_results.json"
        earlier = _last_change(results_file)
        if run_command(run.command(launcher=launcher, num_gpus=num_gpus, eval_only=True)) != 0:
            raise UsageError("the evaluation failed; see above")
        if _last_change(results_file) in (None, earlier):  # results of an earlier run are not this model's
            raise UsageError(f"the evaluation ended without an error, but has not written {results_file}")
    results = read_coco_results(
        results_file, image_ids={image["id"] for image in images}, num_keypoints=skeleton.num_keypoints
    )
    best = best_of_each_image(results)
    archive = write_submission(best, output, split=split, algorithm=algorithm)
    return Submission(archive, len(best), len({result["image_id"] for result in best}), len(images))


def _last_change(file: Path) -> int | None:
    """When a file was last written, in nanoseconds; None where there is none."""
    return file.stat().st_mtime_ns if file.exists() else None
