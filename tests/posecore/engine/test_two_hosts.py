"""Trainings on two hosts, with torchrun and with --num-machines: killed, unplugged and resumed."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import small_training
from helpers.hosts import Host, missing, two_hosts
from helpers.small_training import ALONE, left_over, screen, start, wait_for

from posecore.data.synthetic import make_dataset

pytestmark = pytest.mark.long

PORT = 29511
# Seconds until the processes of the other host must have ended, on a loaded machine.
END = 90


@pytest.fixture(scope="module")
def definition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("data"), num_images=6, size=(64, 64), people=(1, 1))


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    if reason := missing():
        pytest.skip(reason)
    with two_hosts() as hosts:
        yield hosts


def torchrun(hosts: tuple[Host, Host], place: int, *options: str) -> tuple[str, ...]:
    """torchrun on a host, which finds the other one at the first one's name."""
    rendezvous = ("--rdzv_backend", "c10d", "--rdzv_endpoint", f"{hosts[0].name}:{PORT}", "--rdzv_id", "1")
    command = (sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1")
    return hosts[place].command((*command, *rendezvous, *options))


def by_hand(hosts: tuple[Host, Host], place: int) -> tuple[str, ...]:
    """The options of the form without torchrun."""
    address = f"tcp://{hosts[0].name}:{PORT}"
    return ("--num-machines", "2", "--machine-rank", str(place), "--dist-url", address)


def start_both(form: str, hosts: tuple[Host, Host], definition: Path, output: Path, *options: str, **more):
    """Starts a training on both hosts; their screens are in one file."""
    processes = []
    for place in (0, 1):
        if form == "torchrun":
            starter, own = torchrun(hosts, place), ()
        else:
            starter, own = hosts[place].command(ALONE), by_hand(hosts, place)
        processes.append(
            start(
                definition,
                output,
                "DATALOADER.NUM_WORKERS",
                "0",
                starter=starter,
                options=(*own, "--timeout", "20", *options),
                **more,
            )
        )
    return processes


@pytest.mark.parametrize("form", ["torchrun", "--num-machines"])
def test_two_hosts_train_and_a_killed_one_is_noticed(
    form: str, hosts: tuple[Host, Host], definition: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    try:
        first, second = start_both(form, hosts, definition, output, iterations=400)
        wait_for(output, "Saved ", first, seconds=240)
        assert "Process 0 of 2" in screen(output)
        hosts[1].kill()
        begin = time.monotonic()
        assert first.wait(timeout=END) != 0
        assert second.wait(timeout=END) != 0
        text = screen(output)
        (line,) = [line for line in text.splitlines() if line.startswith("train_net.py: process 0 of 2")]
        assert f"(on {hosts[0].name}) has lost another one: a process or its machine has ended" in line
        assert "Start all of them again with --resume" in line
        assert left_over(output) == []
        print(f"ended {time.monotonic() - begin:.1f} s after the kill")
        saved = (output / "last_checkpoint").read_text()
        done = int(saved.removeprefix("model_").removesuffix(".pth")) + 1

        again = start_both(form, hosts, definition, output, "--resume", iterations=done + 2)
        assert [process.wait(timeout=240) for process in again] == [0, 0], screen(output)
        assert f"Starting training from iteration {done}" in screen(output)
        assert "Process 1 of 2" in (output / "log.txt.rank1").read_text()
    finally:
        small_training.kill_all(output)


def test_a_host_without_network_is_noticed_after_the_timeout(
    hosts: tuple[Host, Host], definition: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    try:
        processes = start_both("--num-machines", hosts, definition, output, iterations=4000)
        wait_for(output, "Saved ", processes[0], seconds=240)
        hosts[1].unplug()
        assert all(process.wait(timeout=END) == 1 for process in processes)
        lines = [line for line in screen(output).splitlines() if line.startswith("train_net.py: process")]
        assert {line.split()[2] for line in lines} == {"0", "1"}
        assert all("did not answer for 0:00:20 (--timeout)" in line for line in lines)
        assert left_over(output) == []
    finally:
        small_training.kill_all(output)
