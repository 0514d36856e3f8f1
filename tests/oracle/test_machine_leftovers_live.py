"""What a killed server leaves behind is ended, and nothing else."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from vmstamp.machine.leftovers import end_leftovers, find_leftovers
from vmstamp.paths import Home
from vmstamp.run import Process, spawn

# Stands for a server: holds a network and a machine that is not running yet, until it is killed.
SERVER = """
import sys, time
from ipaddress import IPv4Network
from pathlib import Path
from vmstamp.errors import MachineError
from vmstamp.machine.network import Network, NetworkSpec, SubnetSpec
from vmstamp.paths import Home
from vmstamp.run import spawn

home = Home(Path(sys.argv[1]))
spec = NetworkSpec("n1", "vnet", (SubnetSpec("default", IPv4Network("10.0.0.0/24")),))
try:
    network = Network.open(spec, home.network(spec.id), way_out=False)
except MachineError as error:
    print(f"no: {error}", flush=True)
    sys.exit()
home.machine("vm").mkdir()
serial = f"file,id=serial0,path={home.machine('vm')}/serial.log"
bare = ["-nodefaults", "-display", "none", "-machine", "none", "-S"]
machine = spawn(["qemu-system-x86_64", *bare, "-chardev", serial])
print("up", flush=True)
time.sleep(600)
"""


def start_server(home: Home) -> Process:
    """A server that is up; it is to be killed. Its machine and DHCP server outlive it."""
    home.make()
    process = spawn([sys.executable, "-c", SERVER, str(home.root)], stdout_pipe=True)
    assert process.stdout is not None
    with process.stdout as said:
        first = said.readline().decode().strip()
    if first != "up":
        process.wait()
        pytest.skip(f"no network namespace: {first}")
    return process


def kill(process: Process) -> None:
    process.kill()
    process.wait()


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[Home, Home]]:
    """Two homes, the name of one the beginning of the other's."""
    made = Home(tmp_path / "home"), Home(tmp_path / "home2")
    yield made
    for home in made:
        end_leftovers(home.machines, home.networks)


def programs(pids: list[int]) -> set[str]:
    return {(Path("/proc") / str(pid) / "comm").read_text().strip() for pid in pids}


def wait_for_programs(home: Home, expected: set[str]) -> list[int]:
    """The leftovers of a home, once they are these programs: holders end by themselves."""
    deadline = time.monotonic() + 10
    while True:
        found = find_leftovers(home.machines, home.networks)
        try:
            if programs(found) == expected:
                return found
        except FileNotFoundError:
            continue  # one has just ended
        assert time.monotonic() < deadline, f"{programs(found)} are left, expected {expected}"
        time.sleep(0.02)


def test_leftovers_of_a_killed_server_are_ended_and_another_homes_run_on(homes: tuple[Home, Home]) -> None:
    mine, other = homes
    with ExitStack() as servers:
        for home in homes:
            servers.callback(kill, start_server(home))
    left = wait_for_programs(mine, {"dnsmasq", "qemu-system-x86"})
    others = wait_for_programs(other, {"dnsmasq", "qemu-system-x86"})
    stranger = spawn(["sleep", "600"], cwd=mine.machine("vm"))
    assert sorted(end_leftovers(mine.machines, mine.networks)) == sorted(left)
    assert find_leftovers(mine.machines, mine.networks) == []
    assert find_leftovers(other.machines, other.networks) == others
    assert stranger.poll() is None
    os.kill(stranger.pid, signal.SIGTERM)
    stranger.wait()


def test_a_home_without_leftovers_ends_nothing(homes: tuple[Home, Home]) -> None:
    assert end_leftovers(homes[0].machines, homes[0].networks) == []
