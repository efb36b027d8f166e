"""Every tool ends with one line and a status above 0 for what a user can mend, before it begins to work."""

import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.loggers import own_loggers

from posecore.data.synthetic import make_dataset

CONFIG = "configs/directpose/demo/synthetic.yaml"
POET = "configs/poet/R_50.yaml"
TRAIN = ("train_net", "--config-file", CONFIG)
BROWSE = ("browse_dataset", "--config-file", CONFIG)
SWEEP = ("sweep", "--config-file", CONFIG)
SUBMIT = ("submit", "--config-file", CONFIG)
PREDICT = ("predict", "--config-file", CONFIG, "--input", "{tmp}/train/000001.jpg")
CENTERS = ("analyze", "centers", "--config-file", POET)
DATA = ("DATASETS.DEFINITIONS", "('{tmp}/train.yaml',)", "DATASETS.TRAIN", "('synthetic_train',)")
DATA = (*DATA, "DATASETS.TEST", "('synthetic_train',)", "DATALOADER.NUM_WORKERS", "0")
OUT = ("--output", "{tmp}/out")

# Arguments, where {tmp} is the folder of the fixture below -> what the last line of stderr (or of stdout, for
# check_dataset) must match.
BAD: list[tuple[tuple[str, ...], str]] = [
    # Numbers of processes and batches.
    ((*TRAIN, "--num-gpus", "0"), r"train_net\.py: --num-gpus must be at least 1, not 0"),
    ((*TRAIN, "--num-gpus", "-2"), r"--num-gpus must be at least 1, not -2"),
    ((*TRAIN, "--num-machines", "0"), r"--num-machines must be at least 1, not 0"),
    ((*TRAIN, "--num-machines", "2", "--machine-rank", "2"), r"--machine-rank must be from 0 to 1"),
    ((*SWEEP, *OUT, "--grid", "SEED", "1", "--num-gpus", "0"), r"--num-gpus: must be a whole number .*'0'"),
    (("paper_tables", "run", "--num-gpus", "0", "*"), r"--num-gpus: must be a whole number"),
    ((*SUBMIT, *OUT, "--num-gpus", "-1"), r"--num-gpus: must be a whole number .*'-1'"),
    (
        (*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/o", "SOLVER.IMS_PER_BATCH", "0"),
        r"SOLVER\.IMS_PER_BATCH must be at least 1 and a multiple of the number of processes, 1, not 0",
    ),
    (
        (*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/o", "SOLVER.IMS_PER_BATCH", "-4"),
        r"SOLVER\.IMS_PER_BATCH must be at least 1 .*not -4",
    ),
    (
        (*TRAIN, *DATA[:-1], "-1", "OUTPUT_DIR", "{tmp}/o"),
        r"DATALOADER\.NUM_WORKERS must be 0 or more, not -1",
    ),
    # The configuration.
    ((*TRAIN, "SOLVER.BASELR", "1"), r"unknown config key SOLVER\.BASELR"),
    ((*TRAIN, "SOLVER.BASE_LR"), r"'SOLVER\.BASE_LR' has no value"),
    ((*TRAIN, "SOLVER.MAX_ITER", "many"), r"command line: .*MAX_ITER"),
    (("train_net", "--config-file", "{tmp}/gone.yaml"), r"config file .*gone\.yaml does not exist"),
    (("train_net", "--config-file", "{tmp}/broken.yaml"), r"broken\.yaml must be YAML of keys and values"),
    (("train_net", "--config-file", "{tmp}/folder"), r"folder is a folder"),
    (
        ("browse_dataset", "--config-file", "{tmp}/broken.yaml", "--output", "{tmp}/a.png"),
        r"broken\.yaml must",
    ),
    (
        ("predict", "--config-file", "{tmp}/list.yaml", "--input", "x", *OUT),
        r"list\.yaml must be YAML of keys",
    ),
    (
        ("benchmark", "model", "--configs", "{tmp}/broken.yaml"),
        r"broken\.yaml must be YAML of keys and values",
    ),
    (("benchmark", "model", "--configs", "fcpose/R_51_1x.yaml"), r"R_51_1x\.yaml does not exist; near it: "),
    (("benchmark", "cost", "--configs", "{tmp}/gone.yaml"), r"gone\.yaml does not exist"),
    # Datasets.
    (
        (*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/o", "DATASETS.TRAIN", "('synthetic_trian',)"),
        r"'synthetic_trian' is not known",
    ),
    (
        (*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/o", "DATASETS.DEFINITIONS", "('{tmp}/gone.yaml',)"),
        r"gone\.yaml does not exist",
    ),
    ((*BROWSE, "--output", "{tmp}/a.png", *DATA, "DATASETS.TRAIN", "()"), r"DATASETS\.TRAIN is empty"),
    (("check_dataset", "{tmp}/gone.yaml"), r"gone\.yaml does not exist"),
    (("check_dataset", "{tmp}/broken.yaml"), r"broken\.yaml"),
    (("check_dataset", "{tmp}/list.yaml"), r"list\.yaml"),
    (("check_dataset", "{tmp}/train.yaml", "--images", "-3"), r"--images: must be a whole number .*'-3'"),
    (("analyze", "errors", "{tmp}/gone.yaml", "{tmp}/cut.json"), r"gone\.yaml does not exist"),
    (("analyze", "errors", "{tmp}/train.yaml", "{tmp}/gone.json"), r"gone\.json"),
    (("analyze", "errors", "{tmp}/train.yaml", "{tmp}/cut.json"), r"cut\.json"),
    # Counts.
    ((*BROWSE, "--output", "{tmp}/a.png", "--count", "0"), r"--count: must be a whole number .*'0'"),
    ((*BROWSE, "--output", "{tmp}/a.png", "--columns", "0"), r"--columns: must be a whole number"),
    ((*BROWSE, "--output", "{tmp}/a.png", "--width", "-480"), r"--width: must be a whole number"),
    ((*BROWSE, "--output", "{tmp}/a.png", "--seed", "-1", *DATA), r"--seed must be from 0 to \d+, not -1"),
    ((*CENTERS, "--output", "{tmp}/a.png", "--images", "0"), r"--images: must be a whole number"),
    (("benchmark", "ops", "--rounds", "0"), r"--rounds: must be a whole number"),
    (("benchmark", "ops", "--size", "0", "5"), r"--size: must be a whole number"),
    # Outputs.
    ((*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/file"), r"train_net\.py: .*OUTPUT_DIR .*file is a file"),
    ((*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/file/below"), r"OUTPUT_DIR .*file is a file"),
    ((*BROWSE, "--output", "{tmp}/file/a.png"), r"--output .*a\.png: its folder cannot be made"),
    ((*BROWSE, "--output", "{tmp}/folder.png"), r"folder\.png is a folder: give the name of a file"),
    ((*BROWSE, "--output", "{tmp}/a.txt"), r"a\.txt must end in one of \.png, "),
    ((*CENTERS, "--output", "{tmp}/a"), r"--output .*a must end in one of \.png, .*\.pdf"),
    (("analyze", "training", "{tmp}/cut.json", "--output", "{tmp}/file/a.png"), r"its folder cannot be made"),
    (("benchmark", "model", "--plot", "{tmp}/a.doc"), r"--plot .*a\.doc must end in"),
    ((*SWEEP, "--output", "{tmp}/file", "--grid", "SEED", "1"), r"--output .*file is a file"),
    (("paper_tables", "run", "--output", "{tmp}/file", "*"), r"--output .*file is a file"),
    ((*SUBMIT, "--output", "{tmp}/file", "--results", "{tmp}/cut.json"), r"--output .*file is a file"),
    (
        ("convert_checkpoint", "fcpose", "{tmp}/a.pth", "{tmp}/folder", "--config-file", CONFIG),
        r"OUT .*folder is a folder",
    ),
    (
        ("convert_checkpoint", "fcpose", "{tmp}/a.pth", "{tmp}/a.pth", "--config-file", CONFIG),
        r"OUT .*a\.pth is read \(.*a\.pth\), and would be replaced",
    ),
    # Imports and proposed configurations.
    (("import_dataset", "{tmp}/gone", *OUT), r"import_dataset\.py: SOURCE .*gone does not exist"),
    (("import_dataset", "{tmp}/cut.json", *OUT), r"cut\.json is not valid JSON"),
    (("import_dataset", "{tmp}/folder", *OUT), r"folder is an empty folder: give the one with the files"),
    (("import_dataset", "{tmp}/annotations", "--output", "{tmp}/train"), r"is not empty, and no dataset of"),
    (("import_dataset", "{tmp}/annotations", "--output", "{tmp}/file"), r"--output .*file is a file"),
    (("import_dataset", "{tmp}/annotations", *OUT, "--split", "0.8", "0.8"), r"--split must be two or three"),
    (("import_dataset", "{tmp}/annotations", *OUT, "--seed", "-1"), r"--seed must be 0 or more, not -1"),
    (
        ("import_dataset", "{tmp}/annotations", *OUT, "--images", "{tmp}/gone"),
        r"--images .*gone is no folder",
    ),
    (("import_dataset", "{tmp}/annotations", *OUT, "--keypoints", "{tmp}/gone"), r"gone does not exist"),
    (("import_dataset", "{tmp}/folder", *OUT, "--to", "yolo"), r"folder has no definition of a dataset"),
    (("new_config", "--dataset", "{tmp}/folder", "--method", "poet"), r"folder has no train\.yaml"),
    (("new_config", "--dataset", "{tmp}", "--method", "yolo"), r"--method: invalid choice: 'yolo'"),
    (
        ("new_config", "--dataset", "{tmp}", "--method", "poet", "--output", "{tmp}/list.yaml"),
        r"--output .*list\.yaml exists: --overwrite replaces it",
    ),
    (
        ("new_config", "--dataset", "{tmp}", "--method", "poet", "--output", "{tmp}/a.txt"),
        r"a\.txt must end in one of \.yaml, \.yml",
    ),
    (
        ("import_dataset", "{tmp}/train.yaml", *OUT, "--to", "yolo", "--split", "0.5", "0.5"),
        r"--split has no effect with --to",
    ),
    (
        (
            "new_config",
            "--dataset",
            "{tmp}",
            "--method",
            "poet",
            "--output",
            "{tmp}/train.yaml",
            "--overwrite",
        ),
        r"--output .*train\.yaml is read .*and would be replaced",
    ),
    # Outputs that are inputs, or no files.
    (
        ("train_net", "--config-file", "{tmp}/own/config.yaml", *DATA, "OUTPUT_DIR", "{tmp}/own"),
        r"OUTPUT_DIR .*own has a config\.yaml that no run has written",
    ),
    (
        ("analyze", "training", "{tmp}/metrics.png", "--output", "{tmp}/metrics.png"),
        r"--output .*metrics\.png is read .*and would be replaced",
    ),
    (
        (
            "export",
            "--output",
            "{tmp}/a.onnx",
            "--config-file",
            "{tmp}/a.onnx.json",
            "MODEL.WEIGHTS",
            "{tmp}/a.pth",
        ),
        r"a\.onnx\.json is read .*and would be replaced",
    ),
    (
        ("convert_checkpoint", "backbone", "{tmp}/a.pth", "/dev/null"),
        r"OUT /dev/null is a device or a pipe: give the name of a file",
    ),
    # Weights and devices.
    (
        ("convert_checkpoint", "fcpose", "{tmp}/gone.pth", "{tmp}/b.pth", "--config-file", CONFIG),
        r"gone\.pth: the file does not exist",
    ),
    (
        ("convert_checkpoint", "posecore", "{tmp}/a.pth", "{tmp}/b.pth", "--config-file", CONFIG),
        r"METHOD posecore is no installed method: it must be one of directpose, ",
    ),
    ((*PREDICT, *OUT, "MODEL.WEIGHTS", ""), r"predict\.py: MODEL\.WEIGHTS is empty.*`MODEL\.WEIGHTS random`"),
    ((*CENTERS, "--output", "{tmp}/a.png", "MODEL.WEIGHTS", ""), r"analyze\.py: MODEL\.WEIGHTS is empty"),
    (
        (*TRAIN, "--eval-only", *DATA, "OUTPUT_DIR", "{tmp}/o", "MODEL.WEIGHTS", ""),
        r"train_net\.py: MODEL\.WEIGHTS is empty",
    ),
    ((*PREDICT, *OUT, "MODEL.DEVICE", "cuda", "MODEL.WEIGHTS", "random"), r"add `MODEL\.DEVICE cpu`"),
    (
        (*TRAIN, "MODEL.DEVICE", "cuda"),
        r"MODEL\.DEVICE is 'cuda', but torch finds no GPU: add `MODEL\.DEVICE cpu`",
    ),
    ((*TRAIN, "MODEL.DEVICE", "gpu"), r"MODEL\.DEVICE must be auto, cpu, cuda or cuda:N, not 'gpu'"),
    (
        (*CENTERS, "--output", "{tmp}/a.png", "MODEL.DEVICE", "cuda:3", "MODEL.WEIGHTS", "random"),
        r"MODEL\.DEVICE is 'cuda:3', but torch finds no GPU",
    ),
    (
        ("benchmark", "ops", "--device", "cuda"),
        r"--device is 'cuda', but torch finds no GPU: add `--device cpu`",
    ),
    (
        (*PREDICT, *OUT, "MODEL.WEIGHTS", "random", "MODEL.META_ARCHITECTURE", "DirectPoze"),
        r"MODEL\.META_ARCHITECTURE 'DirectPoze' is not known: it must be one of .*DirectPose",
    ),
    (
        (*TRAIN, *DATA, "OUTPUT_DIR", "{tmp}/o", "MODEL.BACKBONE.NAME", "build_fcos_resnet_backbone"),
        r"MODEL\.BACKBONE\.NAME 'build_fcos_resnet_backbone' is not known",
    ),
    # Nothing to do.
    ((*SWEEP, *OUT, "--collect", "--grid", "SEED", "1", "2"), r"none of the 2 runs below .*out is done"),
    ((*SWEEP, *OUT, "--grid", "OUTPUT_DIR", "a/b", "a_b"), r"two combinations would share the folder"),
    ((*SWEEP, *OUT, "--grid", "SEED", "1", "--launcher", "'"), r"--launcher \"'\": No closing quotation"),
    (("paper_tables", "collect", "--output", "{tmp}/out", "fcpose/*"), r"has a finished run below .*out"),
    (("paper_tables", "run", "fcpose/table-99/*"), r"no row is called"),
]


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of two images and with broken files."""
    folder = tmp_path_factory.mktemp("bad")
    make_dataset(folder, num_images=2, size=(64, 64))
    (folder / "folder").mkdir()
    (folder / "folder.png").mkdir()
    (folder / "file").write_text("a file")
    (folder / "broken.yaml").write_text("MODEL: {DEVICE: [\n")
    (folder / "list.yaml").write_text("- 1\n- 2\n")
    (folder / "own").mkdir()
    (folder / "own" / "config.yaml").write_text("SEED: 3\n")
    (folder / "metrics.png").write_text("not an image")
    (folder / "a.onnx.json").write_text("{}")
    (folder / "cut.json").write_text('[{"image_id": 1, "cat')
    torch.save({"model": {"weight": torch.zeros(1)}}, folder / "a.pth")
    return folder


@pytest.fixture
def run(
    root: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Starts a tool in this process, on a machine without a GPU; returns its status, output and errors."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def start(tool: str, *arguments: str) -> tuple[int, str, str]:
        filled = [argument.replace("{tmp}", str(tmp)) for argument in arguments]
        monkeypatch.setattr(sys, "argv", [f"{tool}.py", *filled])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(f"tools/{tool}.py", run_name="__main__")
        status = end.value.code
        output, errors = capfd.readouterr()
        if isinstance(status, str):
            return 1, output, f"{errors}\n{status}"
        return status or 0, output, errors

    logs = own_loggers(monkeypatch)
    next(logs)
    yield start
    next(logs, None)


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=[" ".join(arguments).replace("configs/", "") for arguments, _ in BAD]
)
def test_what_a_user_can_mend_is_one_line(run: Callable, arguments: tuple[str, ...], message: str) -> None:
    status, output, errors = run(*arguments)
    said = output if arguments[0] == "check_dataset" and not errors else errors
    assert status in (1, 2)  # 2 is argparse's
    assert re.search(message, said.strip().splitlines()[-1]), said[-2000:]
    assert "Traceback" not in errors


def test_a_sweep_whose_runs_are_done_says_that_it_starts_nothing(run: Callable, tmp: Path) -> None:
    folder = tmp / "done" / "SEED=1"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"keypoints/AP": 1.0}))
    status, output, errors = run(*SWEEP, "--output", "{tmp}/done", "--grid", "SEED", "1")
    assert status == 0
    assert "nothing is started: all of 1 runs are done" in errors
    assert "| 1 | 1 |" in output
