"""Two hosts on one machine: network namespaces with an address and a host name each, joined by a cable."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

NETNS = Path("/etc/netns")


@dataclass(frozen=True)
class Host:
    """A network namespace.

    Attributes:
        name: of the namespace and of the host.
        address: of its end of the cable.
        interface: its end of the cable.
    """

    name: str
    address: str
    interface: str

    def command(self, command: Sequence[str]) -> tuple[str, ...]:
        """The command that runs another one on this host."""
        named = f'hostname {self.name} && exec "$@"'
        return ("ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", named, "sh", *command)

    def processes(self) -> list[int]:
        """The processes on this host."""
        listed = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout
        return [int(number) for number in listed.split()]

    def kill(self) -> None:
        """Ends all processes on this host at once, as a power cut does."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def unplug(self) -> None:
        """Takes the cable out: nothing arrives any more, and nobody is told."""
        subprocess.run(["ip", "-n", self.name, "link", "set", self.interface, "down"], check=True)


def missing() -> str:
    """Why this machine cannot make hosts; "" if it can."""
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"two hosts need the program {program}, which is not here"
    if os.geteuid() != 0:
        return "two hosts need root, which makes network namespaces"
    name = f"posecore-{os.getpid()}-try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"two hosts need network namespaces, which are not allowed here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Makes two hosts that know each other by name; both are removed at the end, with their processes."""
    number = os.getpid() % 250
    first, second = (
        Host(f"posecore-{os.getpid()}-{letter}", f"10.213.{number}.{place}", f"pc{letter}{os.getpid()}")
        for place, letter in ((1, "a"), (2, "b"))
    )
    names = "".join(f"{host.address} {host.name}\n" for host in (first, second))
    try:
        for host in (first, second):
            subprocess.run(["ip", "netns", "add", host.name], check=True)
            (NETNS / host.name).mkdir(parents=True, exist_ok=True)
            (NETNS / host.name / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
        ends = ["ip", "link", "add", first.interface, "netns", first.name, "type", "veth"]
        subprocess.run([*ends, "peer", "name", second.interface, "netns", second.name], check=True)
        for host in (first, second):
            here = ["ip", "-n", host.name]
            subprocess.run([*here, "address", "add", f"{host.address}/24", "dev", host.interface], check=True)
            for link in ("lo", host.interface):
                subprocess.run([*here, "link", "set", link, "up"], check=True)
        yield first, second
    finally:
        for host in (first, second):
            host.kill()
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True)
            shutil.rmtree(NETNS / host.name, ignore_errors=True)
        with suppress(OSError):
            NETNS.rmdir()
