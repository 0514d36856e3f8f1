"""The whole host without root: QEMU, user namespaces and the fabric bring the tiny guest to Ready."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmstamp
from vmstamp.errors import VmstampError
from vmstamp.paths import Home
from vmstamp.recipes import build
from vmstamp.run import Completed, run

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

KEPT = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vmstamp" / "test-recipes"
PYTHON = "/usr/bin/python3"  # the one of a virtual environment may lie where others cannot read
USER = "65534"  # nobody
MODULES = os.pathsep.join([str(Path(vmstamp.__file__).parents[1]), sysconfig.get_path("platlib")])
SCRIPT = """
import socket, sys, time
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from vmstamp.arm.compute.host import DiskPlan, NicPlan, VmPlan
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import DiskFacts, Instance, Nic
from vmstamp.host import VmHost
from vmstamp.machine.accelerator import probe_accelerator
from vmstamp.machine.leftovers import find_leftovers
from vmstamp.machine.network import NetworkSpec, SubnetSpec
from vmstamp.paths import Home

image, public = Path(sys.argv[1]), IPv4Address("127.64.202.1")
home = Home(image.parent / "home")
home.make()
fabric = Fabric()
host = VmHost(home, fabric, probe_accelerator, lambda: datetime.now(UTC), ready_timeout=120, way_out=False)
prefix, address, size = IPv4Network("10.0.0.0/24"), IPv4Address("10.0.0.4"), image.stat().st_size - 512
nic = Nic("00-0D-3A-0A-0B-0C", address, prefix, public)
vm_id = "7c1e5201-1234-2256-3333-444455556666"
instance = Instance(
    vm_id=vm_id,
    name="plain",
    resource_group="rg",
    subscription_id=vm_id,
    resource_id="/vm",
    location="local",
    vm_size="Standard_B1s",
    computer_name="plain",
    admin_username="user",
    nics=(nic,),
    os_disk=DiskFacts("os", size),
)
place = NicPlan("nic", nic.mac, "net1", address, prefix, public, (22,), "plain")
network = NetworkSpec("net1", "vnet", (SubnetSpec("default", prefix),))
disk = DiskPlan(image, size, None, "os.qcow2")
plan = VmPlan(instance, 2, 1, 256 << 20, disk, (), (place,), (network,), True)
try:
    host.start(plan)
    print(host.wait_ready(vm_id, lambda: False))
    banner, deadline = "", time.monotonic() + 60
    while not banner and time.monotonic() < deadline:  # the forward is there before the guest's server
        with socket.create_connection((str(public), 10022), timeout=20) as connection:
            banner = connection.makefile().readline().strip()
    print(banner)
finally:
    host.close()
    fabric.close()
print(find_leftovers(home.machines, home.networks))
"""


def as_plain_user(*words: str) -> Completed:
    identity = ["--reuid", USER, "--regid", USER, "--clear-groups"]
    env = ["env", f"PYTHONPATH={MODULES}", "PYTHONDONTWRITEBYTECODE=1"]
    return run(["setpriv", *identity, *env, *words], check=False, timeout=240)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """The tiny guest as a fixed VHD in a directory that the plain user may write to."""
    if os.geteuid() != 0:
        pytest.skip("every test of the host is one of a plain user's here")
    same = f"import sys, vmstamp, cryptography; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if as_plain_user(PYTHON, "-c", same).status != 0:
        pytest.skip(f"{PYTHON} of a plain user is another version than ours, or cannot import {MODULES}")
    if as_plain_user("unshare", "--user", "--map-root-user", "--net", "true").status != 0:
        pytest.skip("a plain user may not make namespaces here")
    if as_plain_user("test", "-w", "/dev/net/tun").status != 0:
        pytest.skip("a plain user may not open /dev/net/tun here (others have it with mode 666)")
    home = Home(tmp_path)
    KEPT.mkdir(parents=True, exist_ok=True)
    home.recipes.symlink_to(KEPT, target_is_directory=True)
    directory = Path(tempfile.mkdtemp(prefix="vmstamp-test-"))
    directory.chmod(0o777)
    try:
        built = build("tiny", directory / "tiny.vhd", home, lambda step, share: None)
        built.chmod(0o644)
        yield built
    except VmstampError as error:
        pytest.skip(f"the recipe tiny cannot be built: {error}")
    finally:
        shutil.rmtree(directory)


def test_a_plain_user_brings_a_vm_to_ready(image: Path) -> None:
    done = as_plain_user(PYTHON, "-c", SCRIPT, str(image))
    assert done.text.splitlines() == [
        "Outcome(ready=True, code='', message='')",
        "SSH-2.0-vmstamp_tiny plain",
        "[]",
    ], done.stderr.decode(errors="replace")
