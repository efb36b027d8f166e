"""Measures training and prediction with each key of speed and memory on and off (:func:`compare_keys`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from posecore.benchmarks.memory import in_new_process
from posecore.benchmarks.model import prepare_random_weights, set_num_persons
from posecore.benchmarks.timing import describe_machine, take_turns
from posecore.benchmarks.training import DrawnImages, benchmark_cfg, frozen_rates, labeled_batch
from posecore.config.errors import UsageError
from posecore.engine.averages import average_model
from posecore.engine.memory import peak_of_process
from posecore.engine.solver import build_optimizer
from posecore.engine.step import TrainingStep
from posecore.engine.trainer import amp_dtype
from posecore.layers.precision import autocast_to
from posecore.modeling.build import build_inference_model, build_model, inference_precision

CHANNELS_LAST = ("MODEL.CHANNELS_LAST", "True")
COMPILE = ("MODEL.COMPILE", "True")
AMP = ("SOLVER.AMP.ENABLED", "True")
BFLOAT16 = ("TEST.PRECISION", "bfloat16")
# What is switched on; ratios are to NONE.
NONE: tuple[str, ...] = ()
TRAINING_KEYS: tuple[tuple[str, ...], ...] = (
    CHANNELS_LAST,
    AMP,
    (*AMP, *CHANNELS_LAST),
    COMPILE,
    (*AMP, *CHANNELS_LAST, *COMPILE),
    ("MODEL.BACKBONE.ACTIVATION_CHECKPOINTING", "True"),
    ("SOLVER.ACCUMULATION_STEPS", "2"),
    ("SOLVER.EMA.ENABLED", "True"),
)
PREDICTION_KEYS: tuple[tuple[str, ...], ...] = (
    CHANNELS_LAST,
    BFLOAT16,  # with channels_last
    COMPILE,
    (*BFLOAT16, *COMPILE),
)


@dataclass(frozen=True)
class Work:
    """What is measured of a model: one of :data:`WORKS`.

    Attributes:
        name: for the table.
        keys: overrides, each a row of the table.
        prepare: takes a configuration below configs/, the folder of drawn images, their persons, the device
            and overrides, and returns a function that does the work once.
    """

    name: str
    keys: tuple[tuple[str, ...], ...]
    prepare: Callable[[str, str, int, str, Sequence[str]], Callable[[], object]]


def prepare_training(
    config: str, folder: str, persons: int, device: str, overrides: Sequence[str]
) -> Callable[[], object]:
    """A function that makes a training step, as a training makes it."""
    cfg = benchmark_cfg(config, folder, device, overrides)
    model = prepare_random_weights(build_model(cfg)).train()
    step = TrainingStep(
        model,
        frozen_rates(build_optimizer(cfg, model)),
        amp_dtype=amp_dtype(cfg),
        num_parts=cfg.SOLVER.ACCUMULATION_STEPS,
    )
    batch = labeled_batch(cfg)
    if not cfg.SOLVER.EMA.ENABLED:
        return lambda: step(batch)
    averages = average_model(model, cfg.SOLVER.EMA.DECAY)

    def step_and_average() -> None:
        step(batch)
        averages.update_parameters(model)

    return step_and_average


def prepare_prediction(
    config: str, folder: str, persons: int, device: str, overrides: Sequence[str]
) -> Callable[[], object]:
    """A function that predicts the persons of one image."""
    cfg = benchmark_cfg(config, folder, device, overrides)
    model = prepare_random_weights(build_inference_model(cfg)).eval()
    set_num_persons(model, persons)
    precision = inference_precision(cfg)
    batch = labeled_batch(cfg)
    inputs = batch[:1] if "image" in batch[0] else batch[:persons]

    def predict() -> None:
        with torch.no_grad(), autocast_to(precision, model):
            model(inputs)

    return predict


WORKS = {
    work.name: work
    for work in (
        Work("training step", TRAINING_KEYS, prepare_training),
        Work("prediction", PREDICTION_KEYS, prepare_prediction),
    )
}


def peak_of_work(
    name: str, config: str, folder: str, persons: int, device: str, threads: int, overrides: Sequence[str]
) -> float:
    """Does a work of :data:`WORKS` twice; returns the MiB of this process at its peak."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    work = WORKS[name].prepare(config, folder, persons, device, overrides)
    work()
    work()
    return peak_of_process(device)


def compare_keys(
    configs: Sequence[str],
    *,
    images: DrawnImages,
    only: Sequence[str],
    device: str,
    threads: int,
    rounds: int,
) -> None:
    """Prints a Markdown table: median milliseconds and peak MiB with each key, and ratios to those without.

    A key and the model without it run in turns, and nothing else is in memory then: beside six other models
    in the process, a step took up to 1.5 times as long. Memory is that of a process of its own. The time
    without keys is the median of its times beside each of them.

    Args:
        configs: our models, below configs/.
        images: that training steps take; predictions take the first, or the crops of its persons.
        only: keys whose rows are wanted; empty for all.
        device: "cpu" or "cuda".
        threads: on the CPU.
        rounds: runs of each; one more, which comes first, warms up and compiles.

    Raises:
        UsageError: ``only`` has a key that is not among those that are measured.
    """
    known = {key for work in WORKS.values() for pairs in work.keys for key in pairs[::2]}
    if unknown := sorted(set(only) - known):
        raise UsageError(f"--only {unknown[0]} is not measured: it must be among {', '.join(sorted(known))}")
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    print(f"{describe_machine(device)}; {images}; medians of {rounds} rounds, random weights\n")
    print("| model | work | keys | ms | ratio | MiB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with images.written(configs) as folder:
        for config in configs:
            for work in WORKS.values():
                _compare(config, work, str(folder), images.persons, only, device, threads, rounds)


def _compare(
    config: str,
    work: Work,
    folder: str,
    persons: int,
    only: Sequence[str],
    device: str,
    threads: int,
    rounds: int,
) -> None:
    wanted = [pairs for pairs in work.keys if not only or set(pairs[::2]) <= set(only)]
    if not wanted:
        return
    times = {
        pairs: take_turns(
            {keys: work.prepare(config, folder, persons, device, keys) for keys in (NONE, pairs)},
            rounds,
            device,
        )
        for pairs in wanted
    }
    memories = {
        pairs: in_new_process(peak_of_work, work.name, config, folder, persons, device, threads, pairs)
        for pairs in (NONE, *wanted)
    }
    without = median(pair[NONE] for pair in times.values())
    print(
        f"| {Path(config).parent} | {work.name} | none | {without:.0f} | 1.00 | {memories[NONE]:.0f} | 1.00 |"
    )
    for pairs, pair in times.items():
        keys = ", ".join(f"`{key} {value}`" for key, value in zip(pairs[::2], pairs[1::2], strict=True))
        time, memory = pair[pairs], memories[pairs]
        print(
            f"| {Path(config).parent} | {work.name} | {keys} | {time:.0f} | {time / pair[NONE]:.2f} "
            f"| {memory:.0f} | {memory / memories[NONE]:.2f} |",
            flush=True,
        )
