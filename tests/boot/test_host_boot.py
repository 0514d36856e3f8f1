"""VMs of the tiny guest on the real host: QEMU, network namespaces and the fabric, as ARM drives them."""

from __future__ import annotations

import base64
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

import vmstamp.disk
from vmstamp.arm.compute.host import DiskPlan, NicPlan, Outcome, VmPlan
from vmstamp.errors import MachineError, VmstampError
from vmstamp.fabric.fabric import Fabric
from vmstamp.fabric.instance import DiskFacts, Instance, Nic, PublicKey
from vmstamp.host import VmHost, offered_ports
from vmstamp.machine.accelerator import probe_accelerator
from vmstamp.machine.leftovers import find_leftovers
from vmstamp.machine.network import NetworkSpec, SubnetSpec
from vmstamp.paths import Home
from vmstamp.recipes import build
from vmstamp.timeline import Stage

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

KEPT = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vmstamp" / "test-recipes"
FOOTER_LENGTH = 512
PREFIX = IPv4Network("10.0.0.0/24")
ADDRESS = IPv4Address("10.0.0.4")
PATIENCE = 120.0  # seconds for a boot of the tiny guest on a busy computer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny guest as a fixed VHD."""
    home = Home(tmp_path_factory.mktemp("recipes"))
    KEPT.mkdir(parents=True, exist_ok=True)
    home.recipes.symlink_to(KEPT, target_is_directory=True)
    path = tmp_path_factory.mktemp("images") / "tiny.vhd"
    try:
        return build("tiny", path, home, lambda step, share: None)
    except VmstampError as error:
        pytest.skip(f"the recipe tiny cannot be built: {error}")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    return made


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def open_host(home: Home) -> Iterator[Callable[[float], VmHost]]:
    """Makes hosts that wait so many seconds for Ready. At the end nothing of them runs."""
    fabric = Fabric(now)
    hosts = []

    def make(ready_timeout: float) -> VmHost:
        hosts.append(VmHost(home, fabric, probe_accelerator, now, ready_timeout=ready_timeout, way_out=False))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()
    fabric.close()
    assert find_leftovers(home.machines, home.networks) == []


def plan_vm(image: Path, name: str, *, public: str, network: str = "net1", custom_data: str = "") -> VmPlan:
    nic = Nic("00-0D-3A-0A-0B-0C", ADDRESS, PREFIX, IPv4Address(public))
    size = image.stat().st_size - FOOTER_LENGTH
    instance = Instance(
        vm_id=str(uuid.uuid4()),
        name=name,
        resource_group="rg",
        subscription_id=str(uuid.uuid4()),
        resource_id=f"/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/{name}",
        location="local",
        vm_size="Standard_B1s",
        computer_name=name,
        admin_username="azureuser",
        nics=(nic,),
        os_disk=DiskFacts(f"{name}-os", size),
        public_keys=(PublicKey("/home/azureuser/.ssh/authorized_keys", "ssh-ed25519 AAAA"),),
        custom_data=base64.b64encode(custom_data.encode()).decode() if custom_data else None,
    )
    place = NicPlan("nic", nic.mac, network, ADDRESS, PREFIX, nic.public_address, (22,), name)
    spec = NetworkSpec(network, f"vnet of {name}", (SubnetSpec("default", PREFIX),))
    disk = DiskPlan(image, size, None, "os.qcow2")
    return VmPlan(instance, 2, 1, 256 << 20, disk, (), (place,), (spec,), True)


def keep_on() -> bool:
    return False


def wait_for(words: str, host: VmHost, plan: VmPlan) -> str:
    """The serial log, once it says `words`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        log = host.serial_log(plan.vm_id)
        said = log.read_text(errors="replace") if log.exists() else ""
        if words in said:
            return said
        assert time.monotonic() < deadline, f"no {words!r} on the console: {said[-2000:]}"
        time.sleep(0.1)


def read_banner(public: str) -> str:
    """What the guest's server says; the forward is there before the server is."""
    banner, deadline = "", time.monotonic() + PATIENCE
    while not banner and time.monotonic() < deadline:
        with socket.create_connection((public, offered_ports(22)[0]), timeout=20) as connection:
            banner = connection.makefile().readline().strip()
    return banner


def start_and_wait(host: VmHost, plan: VmPlan) -> Outcome:
    try:
        host.start(plan)
    except MachineError as error:
        if "namespace" in error.message:
            pytest.skip(str(error))
        raise
    return host.wait_ready(plan.vm_id, keep_on)


def test_a_vm_becomes_ready_and_its_writes_outlive_it(
    tiny: Path, home: Home, open_host: Callable[[float], VmHost]
) -> None:
    host = open_host(PATIENCE)
    plan = plan_vm(tiny, "first", public="127.64.201.1")
    assert start_and_wait(host, plan) == Outcome(True)
    reached = [event.stage for event in host.timeline(plan.vm_id)]
    ready = [Stage.STARTED, Stage.FIRMWARE, Stage.KERNEL, Stage.DHCP, Stage.IMDS, Stage.GOAL_STATE]
    assert [stage for stage in reached if stage in ready] == ready
    assert Stage.READY in reached
    agent = host.agent(plan.vm_id)
    assert agent is not None and agent.first_ready is not None
    assert not (home.machine(plan.vm_id) / "provisioning.iso").exists(), "its password must not be kept"
    serial = wait_for("tiny: up after", host, plan)
    assert "tiny: ovf-env.xml for host first, user azureuser" in serial
    assert "tiny: boot 1 of machine" in serial
    assert read_banner("127.64.201.1") == "SSH-2.0-vmstamp_tiny first"
    picture = host.screenshot(plan.vm_id)
    assert picture is not None and picture[:2] == b"BM" and len(picture) > 640 * 350 * 3
    host.start(plan)  # runs already: no second one
    host.stop(plan.vm_id, graceful=True)
    assert not host.running(plan.vm_id) and host.screenshot(plan.vm_id) is None
    assert "tiny: power button" in wait_for("tiny: power button", host, plan)
    assert find_leftovers(home.machines, home.networks) == [], "a network without VMs is closed"

    folded = host.fold(plan.vm_id, plan.os_disk)
    assert folded is not None
    content = folded.rename(home.content / "adopted")
    assert content.stat().st_size == tiny.stat().st_size
    with tiny.open("rb") as before, content.open("rb") as after:
        assert before.seek(-FOOTER_LENGTH, 2) == after.seek(-FOOTER_LENGTH, 2)
        assert before.read() == after.read()
    with vmstamp.disk.open(content) as disk:
        assert disk.size == plan.os_disk.size
    adopted = replace(plan, os_disk=replace(plan.os_disk, path=content), provision=False)
    assert host.fold(plan.vm_id, adopted.os_disk) is None, "nothing was written since it was adopted"

    host.start(adopted)
    again = wait_for("tiny: boot 2 of machine", host, adopted)
    machines = {line.split()[-1] for line in again.splitlines() if "of machine" in line}
    assert len(machines) == 1, "the overlay lies over the adopted content"
    wait_for("tiny: no DVD", host, adopted)
    host.remove(plan.vm_id)
    assert not home.machine(plan.vm_id).exists()


def test_a_silent_vm_times_out_and_one_that_stops_says_so(
    tiny: Path, open_host: Callable[[float], VmHost]
) -> None:
    host = open_host(0.5)
    plan = plan_vm(tiny, "silent", public="127.64.201.2", custom_data="vmstamp-fail=noready")
    outcome = start_and_wait(host, plan)
    assert (outcome.ready, outcome.code) == (False, "OSProvisioningTimedOut")
    assert outcome.message.startswith("OS Provisioning for VM 'silent' did not finish in the allotted time.")
    assert host.running(plan.vm_id), "it may still become ready"
    assert host.wait_ready(plan.vm_id, lambda: True).code == "OperationPreempted"
    wait_for("tiny: told to report nothing", host, plan)
    wait_for("tiny: up after", host, plan)
    outcome = host.wait_ready(plan.vm_id, keep_on)
    assert outcome.code == "OSProvisioningTimedOut"
    assert "goal state +" in outcome.message, "the message tells how far it came"
    assert host.agent(plan.vm_id) is None
    host.stop(plan.vm_id, graceful=True)
    outcome = host.wait_ready(plan.vm_id, keep_on)
    assert outcome.code == "OSProvisioningInternalError"
    assert outcome.message.startswith("VM 'silent' stopped before its agent reported Ready: powered off.")


def test_two_networks_have_the_same_address_and_one_agent_reports_failure(
    tiny: Path, open_host: Callable[[float], VmHost]
) -> None:
    host = open_host(PATIENCE)
    failing = plan_vm(tiny, "failing", public="127.64.201.3", custom_data="vmstamp-fail=notready")
    healthy = plan_vm(tiny, "healthy", public="127.64.201.4", network="net2")
    host.start(healthy)
    outcome = start_and_wait(host, failing)
    assert outcome.code == "OSProvisioningClientError"
    assert "told to fail by vmstamp-fail" in outcome.message
    assert host.wait_ready(healthy.vm_id, keep_on) == Outcome(True)
    for plan in (failing, healthy):  # now each hears its power button
        wait_for("tiny: up after", host, plan)
    assert read_banner("127.64.201.4") == "SSH-2.0-vmstamp_tiny healthy"


def test_a_kernel_that_panics_is_not_waited_for(tmp_path: Path, open_host: Callable[[float], VmHost]) -> None:
    """The guest is a boot sector that writes the text behind its code to the serial port, and halts."""
    code = bytes.fromhex("fc 31c0 8ed8 be167c baf803 ac 84c0 7403 ee ebf8 f4 ebfd")
    sector = (code + b"Kernel panic - not syncing: VFS: no root\r\n\0").ljust(510, b"\0") + b"\x55\xaa"
    image = tmp_path / "panic.vhd"
    image.write_bytes(sector.ljust((1 << 20) + FOOTER_LENGTH, b"\0"))
    host = open_host(PATIENCE)
    plan = replace(plan_vm(image, "panics", public="127.64.201.5"), generation=1, nics=(), networks=())
    outcome = start_and_wait(host, plan)
    assert outcome.code == "OSProvisioningInternalError"
    assert "panicked: Kernel panic - not syncing: VFS: no root." in outcome.message
    host.stop(plan.vm_id, graceful=False)
    assert host.timeline(plan.vm_id)[-1].stage is Stage.STOPPED
