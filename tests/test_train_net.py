"""The training tool from its command line: a small DirectPose, alone and in two processes."""

import json
import os
import subprocess
import sys

import pytest
from helpers.configs import override_list
from helpers.processes import run_python

from posecore.data.synthetic import make_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With the images to train on."""
    folder = tmp_path_factory.mktemp("train_net")
    make_dataset(folder, num_images=4, size=(64, 64), people=(1, 1))
    return folder


@pytest.fixture
def run(root, folder):
    """Starts the tool on the demo's configuration, made smaller, and returns the finished process."""

    def start(*arguments, starter=(), options=()):
        overrides = [
            *override_list(
                {
                    "DATASETS.DEFINITIONS": f"('{folder / 'train.yaml'}',)",
                    "DATASETS.TEST": "('synthetic_train',)",
                    "OUTPUT_DIR": str(folder / "output"),
                    "DATALOADER.NUM_WORKERS": "0",
                    "SEED": "0",
                    "INPUT.MIN_SIZE_TRAIN": "(64,)",
                    "INPUT.MIN_SIZE_TEST": "64",
                    "SOLVER.WARMUP_ITERS": "2",
                    "MODEL.FCOS.NUM_CONVS": "1",
                    "SOLVER.IMS_PER_BATCH": "2",
                    "SOLVER.CHECKPOINT_PERIOD": "2",
                }
            ),
        ]
        config = root / "configs" / "directpose" / "demo" / "synthetic.yaml"
        command = ["tools/train_net.py", "--config-file", config, *options, *overrides, *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if not starter:
            return run_python(command, cwd=root, env=environment)
        return subprocess.run([*starter, *command], cwd=root, env=environment, capture_output=True, text=True)

    return start


def last_line(folder):
    return json.loads((folder / "metrics.json").read_text().splitlines()[-1])


def test_train_resume_and_evaluate(run, folder):
    done = run("SOLVER.MAX_ITER", "3")
    assert done.returncode == 0, done.stderr
    assert "keypoints/AP" in last_line(folder / "output")
    assert (folder / "output" / "config.yaml").is_file()
    assert "Environment:" in (folder / "output" / "log.txt").read_text()

    done = run("SOLVER.MAX_ITER", "5", options=["--resume"])
    assert done.returncode == 0, done.stderr
    assert "Starting training from iteration 3" in done.stdout
    assert last_line(folder / "output")["iteration"] == 5

    done = run("MODEL.WEIGHTS", str(folder / "output" / "model_final.pth"), options=["--eval-only"])
    assert done.returncode == 0, done.stderr
    assert "synthetic_train, keypoints (hotcoco)" in done.stdout


@pytest.mark.long
def test_a_finished_training_is_not_written_over(run, folder):
    output = folder / "kept"
    place = ("OUTPUT_DIR", str(output), "DATASETS.TEST", "()")
    assert run("SOLVER.MAX_ITER", "2", *place).returncode == 0
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}

    for options in ((), ("--num-gpus", "2")):
        refused = run("SOLVER.MAX_ITER", "2", *place, options=options)
        assert refused.returncode == 1
        assert "holds a training already (results.json): add --resume to go on" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert {path.name: path.stat().st_mtime_ns for path in output.iterdir()} == before

    changed = ("SOLVER.MAX_ITER", "4", "SOLVER.BASE_LR", "0.003", "SOLVER.IMS_PER_BATCH", "4")
    resumed = run(*place, *changed, options=["--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert "--resume: SOLVER.BASE_LR is 0.003 from here on; the training in" in resumed.stdout
    assert "--resume: SOLVER.IMS_PER_BATCH is 4 from here on" in resumed.stdout
    assert "BASE_LR: 0.003" in (output / "config.yaml").read_text()

    replaced = run("SOLVER.MAX_ITER", "1", *place, options=["--overwrite"])
    assert replaced.returncode == 0, replaced.stderr
    assert sorted(path.name for path in output.glob("model_*")) == ["model_final.pth"]


@pytest.fixture
def broken(tmp_path):
    """The definition of four images, of which the second is broken."""
    definition = make_dataset(tmp_path, num_images=4, size=(64, 64), people=(1, 1), name="broken")
    (tmp_path / "train" / "000002.jpg").write_bytes(b"no image")
    return definition


@pytest.mark.parametrize("number", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_a_bad_image_is_one_line(run, broken, tmp_path, number):
    data = ("DATASETS.DEFINITIONS", f"('{broken}',)", "DATASETS.TRAIN", "('broken_train',)")
    place = ("OUTPUT_DIR", str(tmp_path / "out"), "DATASETS.TEST", "()")
    done = run("DATALOADER.NUM_WORKERS", "1", *data, *place, options=("--num-gpus", number))
    assert done.returncode == 1
    assert f"train_net.py: image {tmp_path / 'train' / '000002.jpg'}" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.long
def test_a_bad_image_is_passed_over(run, broken, tmp_path):
    data = ("DATASETS.DEFINITIONS", f"('{broken}',)", "DATASETS.TRAIN", "('broken_train',)")
    place = ("OUTPUT_DIR", str(tmp_path / "passed"), "DATASETS.TEST", "()", "DATASETS.BAD_IMAGES", "0.3")
    done = run(*data, *place, "SOLVER.MAX_ITER", "4")
    assert done.returncode == 0, done.stderr
    assert "000002.jpg" in (tmp_path / "passed" / "bad_images.txt").read_text()


@pytest.mark.long
def test_torchrun_forms_one_world(run, folder):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = run("SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(folder / "torchrun"), starter=torchrun)
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 2" in done.stdout
    # One job, one set of metrics: two would have set each other's aside.
    names = sorted(path.name for path in (folder / "torchrun").glob("metrics*"))
    assert names == ["metrics.json"]
    assert "Process 1 of 2" in (folder / "torchrun" / "log.txt.rank1").read_text()


def test_usage_errors_have_no_traceback(run):
    done = run("SOLVER.MAXITER", "2")
    assert done.returncode == 1
    assert "train_net.py: command line: unknown config key SOLVER.MAXITER; near it:" in done.stderr
    assert "Traceback" not in done.stderr
