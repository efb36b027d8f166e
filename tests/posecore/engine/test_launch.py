"""Every way of starting processes ends in one world of the right size."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from detectron2.utils import comm
from hypothesis import given
from hypothesis import strategies as st

from posecore.config.merge import UsageError
from posecore.engine.launch import World, find_world, first_node, launch

SCRIPT = """
import json, sys
import torch, torch.distributed as dist
from posecore.engine.launch import launch
from detectron2.utils import comm

def main(folder):
    total = torch.tensor([float(comm.get_rank() + 1)])
    if comm.get_world_size() > 1:
        dist.all_reduce(total)
    rank = comm.get_rank()
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump([comm.get_world_size(), comm.get_local_rank(), comm.get_local_size(), total.item()], file)

if __name__ == "__main__":
    launch(main, (sys.argv[1],), device="cpu", num_gpus=int(sys.argv[2]))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


@pytest.fixture
def environment(root):
    """Ours without any trace of a launcher; the script finds the checkout."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "MASTER_", "TORCHELASTIC"))}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        clean.pop(name, None)
    return {**clean, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


def reports(folder):
    return {int(path.stem): json.loads(path.read_text()) for path in folder.glob("[0-9].json")}


WORLD_OF_TWO = {0: [2, 0, 2, 3.0], 1: [2, 1, 2, 3.0]}


def test_spawned(tmp_path, script, environment):
    subprocess.run([sys.executable, script, tmp_path, "2"], env=environment, check=True)
    assert reports(tmp_path) == WORLD_OF_TWO


@pytest.mark.long
def test_torchrun_forms_one_world(tmp_path, script, environment):
    """Also where --num-gpus repeats what torchrun was told."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run([*torchrun, script, tmp_path, "2"], env=environment, check=True)
    assert reports(tmp_path) == WORLD_OF_TWO


@pytest.mark.long
def test_slurm_forms_one_world(tmp_path, script, environment):
    step = {"SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid())}
    tasks = [
        subprocess.Popen(
            [sys.executable, script, tmp_path, "1"],
            env={**environment, **step, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(2)
    ]
    assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    assert reports(tmp_path) == WORLD_OF_TWO


def fail_in_second():
    if comm.get_rank() == 1:
        raise ValueError("the second process has a problem")


def test_a_failing_process_ends_the_job():
    with pytest.raises(
        torch.multiprocessing.ProcessRaisedException, match="the second process has a problem"
    ):
        launch(fail_in_second, device="cpu", num_gpus=2)


def test_no_launcher_is_found():
    assert find_world({"HOME": "/", "SLURM_JOB_ID": "7"}) is None


def test_torchrun_is_found():
    environment = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "GROUP_RANK": "1", "SLURM_PROCID": "0"}
    assert find_world(environment) == World(3, 4, 1, "1", "env://", "torchrun")


SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_JOB_ID": "1000",
    "SLURM_JOB_NODELIST": "gpu[07-10]",
}


def test_slurm_is_found():
    assert find_world(SLURM) == World(5, 8, 1, "2", "tcp://gpu07:28000", "Slurm")


def test_a_step_counts_its_own_tasks_and_nodes():
    step = {"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NODELIST": "gpu09,gpu10", "SLURM_STEP_ID": "3"}
    assert find_world({**SLURM, **step}) == World(5, 6, 1, "2", "tcp://gpu09:28003", "Slurm")


def test_a_single_slurm_task_is_nothing_special():
    assert find_world({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}) is None


def test_master_variables_win_over_slurms():
    found = find_world({**SLURM, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"})
    assert found.url == "tcp://10.0.0.1:5"


def test_slurm_without_nodes():
    with pytest.raises(UsageError, match="SLURM_JOB_NODELIST"):
        find_world({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("a,b", "a"),
        ("node[003-010,012],gpu7", "node003"),
        ("node[5,9]", "node5"),
        ("rack[1-2]n[08-16]-ib,x", "rack1n08-ib"),
        ("gpu-a-1.cluster.org", "gpu-a-1.cluster.org"),
    ],
)
def test_first_node(nodes, first):
    assert first_node(nodes) == first


names = st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True)
numbers = st.integers(0, 999).map(str)
ranges = st.lists(st.one_of(numbers, st.tuples(numbers, numbers).map("-".join)), min_size=1, max_size=3)


@st.composite
def node_lists(draw):
    """(a list of nodes as Slurm writes it, the first of them)"""
    compressed, first = draw(names), ""
    first += compressed
    for _ in range(draw(st.integers(0, 2))):
        numbered, tail = draw(ranges), draw(names)
        compressed += f"[{','.join(numbered)}]{tail}"
        first += numbered[0].partition("-")[0] + tail
    others = draw(st.lists(names.map(lambda name: f"{name}[1-3,7]"), max_size=2))
    return ",".join([compressed, *others]), first


@given(node_lists())
def test_first_node_of_any_list(case):
    nodes, first = case
    assert first_node(nodes) == first


def test_empty_node_list():
    with pytest.raises(UsageError, match="list of Slurm nodes"):
        first_node("")


def test_contradicting_numbers(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"torchrun has started 2 processes.*ask for 4"):
        launch(print, device="cpu", num_gpus=4)


def test_machines_need_an_address():
    with pytest.raises(UsageError, match="--dist-url"):
        launch(print, device="cpu", num_machines=2)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_gpus": 0}, r"--num-gpus must be at least 1, not 0.*`MODEL\.DEVICE cpu`"),
        ({"num_gpus": -1}, r"--num-gpus must be at least 1, not -1"),
        ({"num_machines": 0}, r"--num-machines must be at least 1, not 0"),
        ({"machine_rank": 1}, r"--machine-rank must be from 0 to 0, below --num-machines, not 1"),
        ({"num_machines": 2, "machine_rank": -1}, r"--machine-rank must be from 0 to 1"),
    ],
)
def test_numbers_that_would_run_nothing(numbers, message):
    with pytest.raises(UsageError, match=message):
        launch(print, device="cpu", **numbers)


def test_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"MODEL.DEVICE is 'cuda'.*`MODEL.DEVICE cpu`"):
        launch(print, device="cuda")


def test_too_few_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="--num-gpus 2, but this machine has 1"):
        launch(print, device="cuda", num_gpus=2)


def test_result_comes_back_when_alone():
    assert launch(max, (3, 4), device="cpu") == 4
