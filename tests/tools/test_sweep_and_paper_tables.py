"""tools/sweep.py and tools/paper_tables.py: which runs they start, which they skip, and their tables."""

import csv
import runpy
import sys
from pathlib import Path

import pytest
from helpers.configs import override_list

from posecore.data.synthetic import make_dataset
from posecore.engine.results import write_results

CONFIG = "configs/directpose/demo/synthetic.yaml"


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Starts a tool by its path, in this process; returns its exit status, output and errors."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def start(tool: str, *arguments: object) -> tuple[int | str, str, str]:
        monkeypatch.setattr(sys, "argv", [f"{tool}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(f"tools/{tool}.py", run_name="__main__")
        status = end.value.code
        output, errors = capfd.readouterr()
        return (1, output, errors + status) if isinstance(status, str) else (status, output, errors)

    return start


@pytest.mark.long
def test_a_sweep_goes_on_where_it_was(run, tmp_path: Path) -> None:
    make_dataset(tmp_path, num_images=2, size=(64, 64))
    shared = [
        *override_list(
            {
                "DATASETS.DEFINITIONS": f"('{tmp_path / 'train.yaml'}',)",
                "DATASETS.TEST": "('synthetic_train',)",
                "MODEL.FCOS.NUM_CONVS": "1",
                "MODEL.WEIGHTS": "random",
                "DATALOADER.NUM_WORKERS": "0",
            }
        ),
    ]
    # Nothing tells that the second value is wrong before the evaluation does.
    grid = ["--grid", "TEST.COCO_BACKEND", "hotcoco", "nobody", "--grid", "TEST.NUM_PREVIEWS", "1"]
    start = ["sweep", "--config-file", CONFIG, "--output", tmp_path / "out", *grid]
    status, table, errors = run(*start, "--eval-only", "--", *shared)
    assert status == 1
    assert "== 2 of 2" in table
    assert "failed: TEST.COCO_BACKEND=nobody,TEST.NUM_PREVIEWS=1" in errors
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["TEST.COCO_BACKEND"] for row in rows] == ["hotcoco", "nobody"]
    assert float(rows[0]["AP"]) >= 0
    assert rows[1]["AP"] == "-"
    assert list(rows[0])[:4] == ["TEST.COCO_BACKEND", "TEST.NUM_PREVIEWS", "AP", "AP50"]
    assert (tmp_path / "out" / "results.md").read_text() in table

    _, commands, _ = run(*start, "--print", "--", *shared)
    (line,) = commands.splitlines()
    assert "tools/train_net.py --config-file" in line
    assert "--resume" in line
    assert "TEST.COCO_BACKEND nobody" in line

    status, _, errors = run(*start, "--eval-only", "--", *shared, "SEED", "5")
    assert status == 1
    assert "holds a run with SEED 0, not 5" in errors


def test_what_cannot_be_swept_is_said_before_anything_starts(run, tmp_path: Path) -> None:
    start = ["sweep", "--config-file", CONFIG, "--output", tmp_path, "--grid"]
    for grid, message in (
        (["SOLVER.BASELR", "1", "2"], "unknown config key SOLVER.BASELR; near it: SOLVER.BASE_LR"),
        (["SOLVER.BASE_LR", "1", "1"], "--grid SOLVER.BASE_LR must"),
        (["SOLVER.BASE_LR"], "--grid SOLVER.BASE_LR must"),
    ):
        status, _, errors = run(*start, *grid)
        assert status == 1
        assert message in errors
    assert not list(tmp_path.iterdir())


def test_keys_without_effect_are_said_before_anything_starts(run, tmp_path: Path, caplog) -> None:
    start = ["sweep", "--config-file", CONFIG, "--output", tmp_path, "--print"]
    status, commands, _ = run(*start, "--grid", "MODEL.POSEUR.WIDTH", "32", "64")
    assert status == 0
    assert len(commands.splitlines()) == 2
    assert "MODEL.POSEUR.WIDTH has no effect in this sweep" in caplog.text


def test_averages_are_beside_the_runs(run, tmp_path: Path) -> None:
    for seed, ap in (("1", 30.0), ("2", 32.0)):
        (tmp_path / f"SEED={seed}").mkdir()
        write_results(tmp_path / f"SEED={seed}", {"keypoints": {"AP": ap}})
    start = ["sweep", "--config-file", CONFIG, "--output", tmp_path, "--grid", "SEED", "1", "2", "--collect"]
    status, tables, _ = run(*start, "--average", "SEED")
    assert status == 0
    assert "| 1 | 30 |" in tables
    assert "| 2 | 31 ± 1.4 |" in tables
    status, _, errors = run(*start, "--average", "SOLVER.BASE_LR")
    assert status == 1
    assert "--average SOLVER.BASE_LR: the key must be one of --grid: SEED" in errors


def test_a_launcher_replaces_this_python(run, tmp_path: Path) -> None:
    start = ["--config-file", CONFIG, "--output", tmp_path, "--grid", "SEED", "1", "2", "--print"]
    _, commands, _ = run("sweep", *start, "--launcher", "torchrun --nproc_per_node 8")
    first, second = commands.splitlines()
    assert first.startswith("torchrun --nproc_per_node 8 tools/train_net.py ")
    assert second.endswith(f"SEED 2 OUTPUT_DIR {tmp_path}/SEED=2")


def test_rows_of_the_papers_are_listed_under_names_of_their_own(run) -> None:
    _, listed, _ = run("paper_tables", "list")
    names = [line.split()[0] for line in listed.splitlines()]
    assert len(names) == len(set(names)) > 30
    assert "directpose/table-5/r-50-multi-scale" in names


def test_rows_become_commands_and_a_table(run, tmp_path: Path) -> None:
    status, commands, _ = run(
        "paper_tables", "run", "--print", "--output", tmp_path, "fcpose/table-4/*", "SEED", "3"
    )
    assert status == 0
    assert len(commands.splitlines()) == 3
    assert f"MODEL.FCPOSE.REFINEMENT none SEED 3 OUTPUT_DIR {tmp_path}/fcpose/table-4/none" in commands
    folder = tmp_path / "fcpose" / "table-4" / "none"
    folder.mkdir(parents=True)
    write_results(folder, {"keypoints": {"AP": 55.55, "AP50": 83.0}, "bbox": {"AP": 1.0}})
    _, commands, _ = run("paper_tables", "run", "--print", "--output", tmp_path, "fcpose/table-4/*")
    assert len(commands.splitlines()) == 2
    _, tables, _ = run("paper_tables", "collect", "--output", tmp_path, "fcpose/table-4/*")
    assert "### fcpose, Table 4: Refinement of the peaks (1x, val)" in tables
    assert "| none | 55.5 (56.2) | 83.0 (83.6) | - (60.8) |" in tables
    assert "| proposed | - (63.0) |" in tables


def test_rows_that_do_not_exist(run) -> None:
    status, _, errors = run("paper_tables", "run", "fcpose/table-99/*")
    assert status == 1
    assert "paper_tables.py: no row is called 'fcpose/table-99/*'" in errors
