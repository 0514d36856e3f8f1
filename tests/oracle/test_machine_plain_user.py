"""A virtual network made by a plain user, in a user namespace of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmstamp
from vmstamp.run import Completed, find_program, run

PYTHON = "/usr/bin/python3"  # the one of a virtual environment may lie where others cannot read
USER = "65534"  # nobody
SOURCE = Path(vmstamp.__file__).parents[1]
SCRIPT = """
import os, struct, sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from vmstamp.machine.dhcp import WIRESERVER
from vmstamp.machine.leftovers import find_leftovers
from vmstamp.machine.network import Network, NetworkSpec, SubnetSpec

networks = Path(sys.argv[1])
spec = NetworkSpec("n1", "vnet", (SubnetSpec("default", IPv4Network("10.0.0.0/24")),))
network = Network.open(spec, networks / spec.id, way_out=False)
tap = network.add_port("00-0D-3A-01-02-03", IPv4Address("10.0.0.4"), "web", lambda: None)
os.close(tap)
with network.listen(WIRESERVER, 80) as listener, network.connect(WIRESERVER, 80, 5) as client:
    accepted, peer = listener.accept()
    accepted.close()
query = struct.pack("!HHHHHH", 7, 256, 1, 0, 0, 0) + b"\\3web\\0" + struct.pack("!HH", 1, 1)
with network.connect(WIRESERVER, 53, 5) as dns:
    dns.sendall(struct.pack("!H", len(query)) + query)
    assert dns.recv(2)
assert find_leftovers(networks)
network.close()
assert not find_leftovers(networks)
print("done as user", os.getuid())
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the plain user may write to, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="vmstamp-test-"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made)


def as_plain_user(*words: str) -> Completed:
    identity = ["--reuid", USER, "--regid", USER, "--clear-groups"]
    return run(["setpriv", *identity, *words], check=False, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="every test of a network is one of a plain user's here")
def test_a_plain_user_has_networks_too(directory: Path) -> None:
    env = ["env", f"PYTHONPATH={SOURCE}", "PYTHONDONTWRITEBYTECODE=1", f"HOME={directory}"]
    known = as_plain_user(*env, PYTHON, "-c", "import sys, vmstamp; sys.exit(sys.version_info < (3, 11))")
    if known.status != 0:
        pytest.skip(f"{PYTHON} of a plain user cannot import {SOURCE}/vmstamp, or is older than 3.11")
    unshare = find_program("unshare")
    if as_plain_user(unshare, "--user", "--map-root-user", "--net", "true").status != 0:
        pytest.skip("a plain user may not make namespaces here")
    if as_plain_user("test", "-w", "/dev/net/tun").status != 0:
        pytest.skip("a plain user may not open /dev/net/tun here (others have it with mode 666)")
    done = as_plain_user(*env, PYTHON, "-c", SCRIPT, str(directory / "networks"))
    assert done.stderr == b""
    assert done.text == f"done as user {USER}\n"
