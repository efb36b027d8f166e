"""Proposes a configuration for a dataset, with the reason of each value: :func:`propose_config`.

The configuration extends one of the method's under ``configs/``, small for a CPU and of the papers' size for
a GPU. What depends on the data and on the machine is measured: sizes of images and persons, the number of
images, memory and processors (tools/new_config.py).
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detectron2.config import CfgNode

from posecore.config import get_cfg
from posecore.config.errors import UsageError
from posecore.config.merge import merge_config
from posecore.config.repository import CONFIGS, REPOSITORY
from posecore.config.yaml_text import load_yaml
from posecore.data.datasets import dataset_metadata, read_dataset, register_definitions
from posecore.engine.data_statistics import DataStatistics, measure
from posecore.engine.machine import Machine, find_machine
from posecore.engine.proposed_config import ProposedConfig
from posecore.engine.starting_weights import StartingWeights, find_weights
from posecore.structures.skeleton import Skeleton

Size = Literal["small", "full"]


@dataclass(frozen=True)
class MethodConfigs:
    """The configurations of a method that new ones extend, relative to ``configs/``.

    Attributes:
        small: EfficientNet-Lite0 with narrow heads, for a CPU.
        full: a ResNet-50, for a GPU.
        epochs: of a training. Set prediction needs more, because its queries first share out the image.
    """

    small: str
    full: str
    epochs: int = 100


METHODS: dict[str, MethodConfigs] = {
    "directpose": MethodConfigs("directpose/lspet/Lite0.yaml", "directpose/R_50_25ep.yaml"),
    "fcpose": MethodConfigs("fcpose/lspet/Lite0.yaml", "fcpose/R_50_1x.yaml"),
    "inspose": MethodConfigs("inspose/lspet/Lite0.yaml", "inspose/R_50_36ep.yaml"),
    "poet": MethodConfigs("poet/lspet/Lite0.yaml", "poet/R_50.yaml", epochs=300),
    "grouppose": MethodConfigs("grouppose/lspet/Lite0.yaml", "grouppose/R_50.yaml", epochs=200),
    "poseur": MethodConfigs("poseur/lspet/Lite0_128x128.yaml", "poseur/R_50_256x192.yaml"),
}
# The longest shorter side of images and the area of a crop, in pixels, by size of the model.
_SHORTER_SIDE = {"small": 320, "full": 800}
_CROP_AREA = {"small": 128 * 128, "full": 256 * 192}
# Bytes of memory that a pixel of a training batch needs, at most: rules of thumb, which --dry-run checks.
_BYTES_PER_PIXEL = {"small": 2_000, "full": 5_000}
_LARGEST_BATCH = {"small": 16, "full": 16}
_LARGEST_CROP_BATCH = {"small": 32, "full": 64}
# The least and the greatest number of iterations.
_ITERATIONS = {"small": (300, 10_000), "full": (1_000, 90_000)}
# A person should be this many pixels long in what the model sees, or more.
_LEAST_PERSON = 48
# Where nine of ten persons are longer than this, images are made smaller for a CPU: a step takes as long as
# it has pixels. The shipped model was trained on such persons.
_LONG_PERSON = 64
# The borders between the sizes of P3, P4 and P5 are at least this factor apart, as their strides are.
_LEVEL_RATIO = 2.0
# A training that starts from a model of the same keypoints takes this share of the epochs and of the learning
# rate: with the whole rate, 90 steps on photographs took a trained model from an AP of 22.1 to 20.9.
_FURTHER_TRAINING = 0.3


def propose_config(
    folder: Path, method: str, *, size: Size | None = None, device: str = "auto"
) -> ProposedConfig:
    """A configuration that trains a method on a dataset.

    Args:
        folder: of the dataset: train.yaml and, for evaluation, val.yaml, as tools/import_dataset.py writes
            them.
        method: a key of :data:`METHODS`.
        size: of the model; None for "full" on a GPU with 8 GB or more, else "small".
        device: for MODEL.DEVICE.

    Raises:
        UsageError, OSError, ValueError: the dataset, the method or the device is wrong.
    """
    if method not in METHODS:
        raise UsageError(f"--method must be one of {', '.join(METHODS)}, not {method!r}")
    machine = find_machine(device)
    if size is None:
        size = "full" if machine.device != "cpu" and machine.memory >= 8e9 else "small"
    definitions = find_definitions(folder)
    names = dict(zip(definitions, register_definitions(definitions.values()), strict=True))
    skeleton = dataset_metadata(names["train"]).skeleton
    statistics = measure(read_dataset(names["train"], skeleton), names["train"])
    base_file = CONFIGS / (METHODS[method].small if size == "small" else METHODS[method].full)
    if not base_file.is_file():
        raise UsageError(
            f"{base_file} does not exist: new configurations extend those of a checkout of the project, in "
            f"{REPOSITORY}"
        )
    base = merge_config(get_cfg(), base_file, ["MODEL.DEVICE", "cpu"])
    config = ProposedConfig(
        str(base_file),
        (
            f"{base.MODEL.META_ARCHITECTURE} for the dataset {folder}: {statistics.images} images, "
            f"{statistics.persons} persons, {skeleton.num_keypoints} keypoints.",
            "Written by tools/new_config.py; the comments say why each value is so. Try it first:",
            "    python tools/train_net.py --config-file THIS_FILE --dry-run",
        ),
    )
    weights = find_weights(base, skeleton)
    _set_model(config, method, base, skeleton, statistics, size, weights)
    _set_data(config, definitions, names, skeleton)
    pixels = _set_input(config, base, skeleton, statistics, machine, size)
    config.set("MODEL.WEIGHTS", weights.source, weights.reason)
    if not weights.source and base.MODEL.TIMM.FREEZE_STRIDE:
        config.set("MODEL.TIMM.FREEZE_STRIDE", 0, "the first layers have no weights yet, and are trained too")
    _set_solver(
        config, METHODS[method], base, statistics, machine, pixels, size, "val" in names, weights.is_whole
    )
    config.set(
        "MODEL.DEVICE", machine.device, "found on this machine" if device == "auto" else "as asked for"
    )
    config.set(
        "OUTPUT_DIR", f"output/{folder.absolute().name}_{method}", "the folder of checkpoints and metrics"
    )
    return config


def find_definitions(folder: Path) -> dict[str, Path]:
    """The definitions train and, where there is one, val of a dataset's folder.

    Raises:
        FileNotFoundError: there is no train.yaml.
    """
    if not (folder / "train.yaml").is_file():
        raise FileNotFoundError(
            f"--dataset {folder} has no train.yaml: it must be the folder of a dataset with the definitions "
            "train.yaml and val.yaml, as tools/import_dataset.py writes it"
        )
    files = {name: (folder / f"{name}.yaml").absolute() for name in ("train", "val")}
    return {name: file for name, file in files.items() if file.is_file()}


def _set_model(
    config: ProposedConfig,
    method: str,
    base: CfgNode,
    skeleton: Skeleton,
    statistics: DataStatistics,
    size: Size,
    weights: StartingWeights,
) -> None:
    """The keys of the method that depend on the number of keypoints and persons."""
    queries = max(8, 2 * statistics.most_persons)
    found = f"twice the greatest number of persons of an image, {statistics.most_persons}, and 8 or more"
    if method in ("poet", "grouppose"):
        config.set(f"MODEL.{method.upper()}.NUM_QUERIES", queries, f"{found}: at most so many are found")
    if method == "poet" and statistics.has_hidden:
        config.set(
            "MODEL.POET.MIN_VISIBILITY", 1, "hidden keypoints are labeled, and evaluation asks for them"
        )
    if method == "directpose":
        groups = len(skeleton.groups)
        # The papers' 9 groups of 64 channels are 576 in all; the small model has 9 of 16.
        total = 9 * base.MODEL.DIRECTPOSE.GROUP_CHANNELS
        channels = max(4, min(base.MODEL.DIRECTPOSE.GROUP_CHANNELS, total // groups // 4 * 4))
        reason = f"{groups} groups of keypoints: about {total} channels in all, as the 9 of coco_17"
        config.set("MODEL.DIRECTPOSE.GROUP_CHANNELS", channels, reason)
    if method == "poseur" and not skeleton.body_halves:
        reason = "the skeleton has no body_halves, so crops of half a body are not made"
        config.set("INPUT.CROPS.HALF_BODY.PROB", 0.0, reason)
    if method in ("directpose", "fcpose", "inspose") and size == "small":
        ranges = _size_ranges(_scale(statistics, size)[0], statistics)
        reason = "persons of the usual size, by their boxes after the resize, are on P4, others on P3 and P5"
        if weights.size_ranges is not None:
            ranges, reason = weights.size_ranges, f"those that {weights.source} was trained with"
        config.set("MODEL.FCOS.SIZE_RANGES", ranges, reason)
    if method != "poseur":
        reason = f"{found}, at least 20 as COCO's evaluation counts"
        config.set("TEST.DETECTIONS_PER_IMAGE", max(20, queries), reason)


def _set_data(
    config: ProposedConfig, definitions: Mapping[str, Path], names: Mapping[str, str], skeleton: Skeleton
) -> None:
    reason = "the definitions of the dataset; absolute paths, so that any working directory will do"
    config.set("DATASETS.DEFINITIONS", tuple(map(str, definitions.values())), reason)
    config.set("DATASETS.TRAIN", (names["train"],), "the name in train.yaml")
    test = (names["val"],) if "val" in names else ()
    config.set(
        "DATASETS.TEST",
        test,
        "the name in val.yaml" if test else "there is no val.yaml: nothing is evaluated",
    )
    file = _skeleton_path(definitions["train"])
    config.set("DATASETS.SKELETON", file, f"the {skeleton.num_keypoints} keypoints of the dataset")


def _skeleton_path(definition: Path) -> str:
    """The skeleton of a definition, as DATASETS.SKELETON can be."""
    given = load_yaml(definition.read_text(encoding="utf-8"))["skeleton"]
    given = os.path.expanduser(os.path.expandvars(given))
    return given if Path(given).suffix not in (".yaml", ".yml") else str(definition.parent / given)


def _size_ranges(scale: float, statistics: DataStatistics) -> tuple[int, ...]:
    """The two borders between the sizes of persons on P3, P4 and P5, multiples of 8.

    They are the thirds of the persons' sizes where these differ enough, else as far apart as strides are.
    """
    # The longest distance from a location near the center of a box to its sides is about 0.6 of its longer
    # side.
    low, middle, high = (0.6 * scale * length for length in statistics.lengths[1:])
    if high < _LEVEL_RATIO * low:
        low, high = middle / math.sqrt(_LEVEL_RATIO), middle * math.sqrt(_LEVEL_RATIO)
    first = max(16, 8 * round(low / 8))
    return first, max(8 * round(high / 8), 2 * first)


def _scale(statistics: DataStatistics, size: Size) -> tuple[float, int]:
    """The factor of a resize, and the shorter side that it makes, a multiple of 32."""
    length = statistics.lengths[0]
    factor = max(1.0, min(2.0, _LEAST_PERSON / length))
    if size == "small" and length > _LONG_PERSON:
        factor = _LONG_PERSON / length
    wanted = factor * statistics.shorter
    side = max(64, 32 * math.ceil(min(wanted, _SHORTER_SIDE[size]) / 32))
    return side / statistics.shorter, side


def _set_input(
    config: ProposedConfig,
    base: CfgNode,
    skeleton: Skeleton,
    statistics: DataStatistics,
    machine: Machine,
    size: Size,
) -> int:
    """Sizes, boxes and flips; returns the number of pixels of a sample."""
    flip = "horizontal" if skeleton.flip_pairs else "none"
    reason = (
        f"flip pairs in the skeleton: {len(skeleton.flip_pairs)}"
        if skeleton.flip_pairs
        else "the skeleton has no flip pairs; set it to horizontal if your keypoints have no sides"
    )
    config.set("INPUT.RANDOM_FLIP", flip, reason)
    if base.INPUT.SAMPLES == "person_crops":
        height, width = crop_size(statistics.height_by_width, _CROP_AREA[size])
        reason = f"boxes are {statistics.height_by_width:.2f} times as high as wide (median)"
        config.set("INPUT.CROPS.SIZE", (height, width), reason)
        reason = (
            "evaluation with the annotated boxes; `file` or `detector` measures what is found (docs/data.md)"
        )
        config.set("INPUT.CROPS.BOXES", "ground_truth", reason)
        if flip == "none":
            config.set("MODEL.POSEUR.FLIP_FUSION", "none", "as in training, images are not flipped")
        return height * width
    scale, side = _scale(statistics, size)
    longest = 32 * math.ceil(side * statistics.aspect / 32)
    reason = (
        f"images have a shorter side of {statistics.shorter:.0f} pixels (median), and one person of ten is "
        f"less than {statistics.lengths[0]:.0f} pixels long: {statistics.lengths[0] * scale:.0f} after the "
        "resize"
    )
    config.set("INPUT.MIN_SIZE_TEST", side, reason)
    config.set(
        "INPUT.MAX_SIZE_TEST",
        longest,
        f"the longer side is up to {statistics.aspect:.2f} times the shorter one",
    )
    smallest = max(64, 32 * round(0.75 * side / 32))
    config.set("INPUT.MIN_SIZE_TRAIN", (smallest, side), "from three quarters of it, so that sizes vary")
    config.set("INPUT.MIN_SIZE_TRAIN_SAMPLING", "range", "any shorter side between the two")
    config.set("INPUT.MAX_SIZE_TRAIN", longest, "as in evaluation")
    if base.INPUT.BOXES == "annotated" and statistics.has_thin_boxes:
        reason = "some boxes have no width or height, and annotated boxes would leave those persons out"
        config.set("INPUT.BOXES", "keypoints", reason)
    if base.INPUT.CROP.ENABLED and base.INPUT.CROP.TYPE in ("absolute", "absolute_range"):
        config.set("INPUT.CROP.ENABLED", False, "the crops of the paper are made for COCO's sizes of images")
    return side * longest


def crop_size(height_by_width: float, area: int) -> tuple[int, int]:
    """Height and width of crops, multiples of 32, of about an area, between 1 : 2 and 2 : 1."""
    ratio = min(2.0, max(0.5, height_by_width))
    height, width = (math.sqrt(area * value) for value in (ratio, 1 / ratio))
    return 32 * round(height / 32), 32 * round(width / 32)


def _set_solver(
    config: ProposedConfig,
    method: MethodConfigs,
    base: CfgNode,
    statistics: DataStatistics,
    machine: Machine,
    pixels: int,
    size: Size,
    has_val: bool,
    is_further: bool,
) -> None:
    crops = base.INPUT.SAMPLES == "person_crops"
    samples = statistics.persons if crops else statistics.images
    fitting = max(1, int(machine.memory / 2 / (pixels * _BYTES_PER_PIXEL[size])))
    limit = min(_LARGEST_CROP_BATCH[size] if crops else _LARGEST_BATCH[size], fitting, max(1, samples))
    batch = 2 ** int(math.log2(limit))
    where = "this machine" if machine.device == "cpu" else "the GPU"
    reason = (
        f"{pixels:,} pixels a sample at about {_BYTES_PER_PIXEL[size] / 1e3:g} kB each, in half of the "
        f"{machine.memory / 2**30:.0f} GiB of {where}; {samples} samples in all"
    )
    config.set("SOLVER.IMS_PER_BATCH", batch, reason)
    ratio = batch / base.SOLVER.IMS_PER_BATCH
    is_sgd = base.SOLVER.OPTIMIZER == "SGD"
    rate = base.SOLVER.BASE_LR * (ratio if is_sgd else math.sqrt(ratio))
    rule = (
        "in proportion to the batch, as for SGD"
        if is_sgd
        else "with the square root of the batch, as for Adam"
    )
    if is_further:
        rate *= _FURTHER_TRAINING
        rule += f", and {_FURTHER_TRAINING:g} of it, because the model is trained already"
    known = f"{base.SOLVER.BASE_LR:g} for a batch of {base.SOLVER.IMS_PER_BATCH}"
    reason = f"{known} in {Path(config.base).name}, {rule}"
    config.set("SOLVER.BASE_LR", float(f"{rate:.3g}"), reason)
    least, most = _ITERATIONS[size]
    wanted = method.epochs * (_FURTHER_TRAINING if is_further else 1)
    iterations = int(min(max(samples * wanted / batch, least), most))
    epochs = iterations * batch / samples
    reason = f"{epochs:.0f} epochs of {samples} samples; {least} to {most} iterations"
    if is_further:
        reason += f". Without the trained model it would be {method.epochs} epochs"
    config.set("SOLVER.MAX_ITER", iterations, reason)
    if base.SOLVER.MAX_EPOCH > 0:
        config.set("SOLVER.MAX_EPOCH", 0, "the length is that of MAX_ITER")
    if base.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        if base.SOLVER.STEPS_EPOCH:
            config.set("SOLVER.STEPS_EPOCH", (), "the steps are those of STEPS")
        steps = (int(iterations * 2 / 3), int(iterations * 8 / 9))
        config.set("SOLVER.STEPS", steps, "after two thirds and eight ninths, as in the 1x schedule of COCO")
    if iterations // 10 < base.SOLVER.WARMUP_ITERS:
        config.set("SOLVER.WARMUP_ITERS", max(1, iterations // 10), "a tenth of the training")
    period = max(1, iterations // 5)
    if has_val:
        config.set("TEST.EVAL_PERIOD", period, "five evaluations")
    else:
        config.set("TEST.EVAL_PERIOD", 0, "there is nothing to evaluate")
    config.set("SOLVER.CHECKPOINT_PERIOD", period, "five checkpoints")
    workers = (
        max(0, min(4, machine.processors - 1)) if machine.device != "cpu" else min(1, machine.processors - 1)
    )
    reason = f"{machine.processors} processors" + (
        ", which the model needs itself" if machine.device == "cpu" else ""
    )
    config.set("DATALOADER.NUM_WORKERS", workers, reason)
