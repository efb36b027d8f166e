"""Profiles the first steps of a training: :func:`profile_steps`."""

from collections.abc import Sequence
from pathlib import Path

from detectron2.utils import comm
from torch.profiler import ProfilerActivity, profile, record_function

from posecore.config import get_cfg
from posecore.config.merge import merge_config
from posecore.engine.setup import set_up_process
from posecore.engine.trainer import Trainer

FOLDER = "profile"
# Operators in the table.
ROWS = 40


def profile_steps(config_file: str, overrides: Sequence[str], *, steps: int) -> Path:
    """Makes steps of a training under torch's profiler, after one that is not profiled.

    Every process of the job calls this, and writes the files ``trace.rankN.json.gz``, for chrome://tracing
    or Perfetto, and ``table.rankN.txt`` to the folder "profile" in OUTPUT_DIR; the main process prints its
    table. Nothing else in OUTPUT_DIR changes, and nothing is trained.

    Args:
        config_file: the configuration; "" for the defaults.
        overrides: KEY VALUE pairs, flat.
        steps: number of profiled steps.

    Returns:
        The trace of this process.

    Raises:
        UsageError, CheckpointError: a training would end with the same error.
    """
    output = merge_config(get_cfg(), config_file, overrides).OUTPUT_DIR
    folder = Path(output) / FOLDER
    cfg = merge_config(get_cfg(), config_file, [*overrides, "OUTPUT_DIR", str(folder)])
    set_up_process(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.step.model.train()
    batches = trainer.batches()
    trainer.step(next(batches))
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, profile_memory=True) as profiler:
        for _ in range(steps):
            with record_function("data"):
                batch = next(batches)
            with record_function("step"):
                trainer.step(batch)
    del batches  # ends the loader's workers
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=order, row_limit=ROWS)
    rank = comm.get_rank()
    trace = folder / f"trace.rank{rank}.json.gz"
    profiler.export_chrome_trace(str(trace))
    (folder / f"table.rank{rank}.txt").write_text(table)
    if comm.is_main_process():
        print(table)
        print(f"{steps} steps; the trace is {trace}", flush=True)
    return trace
