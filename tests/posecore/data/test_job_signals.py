"""Signals that come while processes start: nothing half made, and nothing lost."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch.utils.data import TensorDataset

from posecore.data.job_signals import SIGNALS, JobLoader, held_signals, outlast_signals
from posecore.engine.launch import launch
from posecore.engine.run import run_command
from posecore.engine.signals import Stopped, StopSignals


def stopped_in(block):
    """The exit status of a signal that stops a function."""
    with pytest.raises(Stopped) as end, StopSignals() as signals, signals.at_once("now"):
        block()
    return end.value.code


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_waits_for_the_end_of_the_block(number):
    done = []

    def signal_and_go_on():
        with held_signals():
            os.kill(os.getpid(), number)
            time.sleep(0.01)
            done.append(True)
        time.sleep(1)

    assert stopped_in(signal_and_go_on) == 128 + number
    assert done
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_signal_that_another_thread_gets_leaves_nothing_blocked():
    """It comes at once where it is sent again, for this thread alone has it blocked."""
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()

    def signal_in_block():
        with held_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        time.sleep(1)

    try:
        for _ in range(5):
            stopped_in(signal_in_block)
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        end.set()
        other.join()


def test_a_process_that_starts_in_the_block_has_the_signals_blocked():
    code = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    with held_signals():
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "SIGINT" in told.stdout
    assert "SIGTERM" in told.stdout
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(SIGNALS)


def test_a_signal_to_all_while_workers_start_leaves_no_half_loader(monkeypatch, capfd):
    """Both while the first one starts and before the second one has done anything."""
    start = multiprocessing.Process.start
    pids = []

    def start_and_signal(process):
        start(process)
        pids.append(process.pid)
        for pid in (process.pid, os.getpid()):
            os.kill(pid, signal.SIGTERM)

    monkeypatch.setattr("torch.multiprocessing.Process.start", start_and_signal, raising=False)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", start_and_signal)
    loader = JobLoader(TensorDataset(torch.arange(4)), num_workers=2, worker_init_fn=outlast_signals)

    def load():
        iter(loader)
        time.sleep(1)

    stopped_in(load)
    assert len(pids) == 2
    for process in multiprocessing.active_children():
        process.join(10)
    assert not multiprocessing.active_children()
    output = capfd.readouterr()
    assert "Traceback" not in output.err
    assert "Exception ignored" not in output.err


def test_a_signal_in_a_destructor_comes_again_after_it(capfd):
    class Ended:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    ended = [Ended()]

    def destroy():
        ended.clear()
        time.sleep(5)

    stopped_in(destroy)
    assert "Exception ignored" not in capfd.readouterr().err


def test_a_signal_before_a_command_has_started_reaches_it(monkeypatch):
    popen = subprocess.Popen

    def signal_and_start(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        return popen(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", signal_and_start)
    with pytest.raises(Stopped):
        run_command(["sleep", "60"])


def stop_at_once(pid):
    """The main function of a spawned process."""
    time.sleep(60)


@pytest.mark.long
def test_spawned_processes_end_by_a_signal_that_comes_while_they_start(monkeypatch):
    spawn = torch.multiprocessing.spawn

    def spawn_and_signal(*args, **kwargs):
        processes = spawn(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGINT)
        return processes

    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn_and_signal)
    with pytest.raises(Stopped):
        launch(stop_at_once, (0,), device="cpu", num_gpus=2)
    assert not multiprocessing.active_children()
