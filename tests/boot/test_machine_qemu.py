"""Machines that really run: guests of one boot sector, the tiny guest on a network, and a killed server."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tests.boot.road import KEPT
from vmstamp.errors import MachineError
from vmstamp.machine.accelerator import probe_accelerator
from vmstamp.machine.dhcp import IMDS, WIRESERVER, NetworkSpec, SubnetSpec
from vmstamp.machine.forward import Forward
from vmstamp.machine.leftovers import end_leftovers, find_leftovers
from vmstamp.machine.media import build_dvd
from vmstamp.machine.network import Network
from vmstamp.machine.overlay import create_overlay, fold, written
from vmstamp.machine.qemu import Machine
from vmstamp.machine.spec import DiskSpec, MachineSpec, NicSpec
from vmstamp.paths import Home
from vmstamp.recipes import build
from vmstamp.run import spawn
from vmstamp.timeline import Stage, Timeline

pytestmark = [pytest.mark.boot, pytest.mark.timeout(300)]

MIB = 1 << 20
VM_ID = "7c1e5201-1111-2222-3333-444455556666"
NETWORK = NetworkSpec("net-1", "vnet", (SubnetSpec("default", IPv4Network("10.0.0.0/24")),))
ADDRESS = IPv4Address("10.0.0.4")
MAC = "00-0D-3A-01-02-03"
POWER_OFF = bytes.fromhex("ba04b0 b80020 ef")  # PM1a_CNT of the pc machine under SeaBIOS: S5
SAY = bytes.fromhex("fc 31c0 8ed8 be007d baf803 ac 84c0 7403 ee ebf8")  # what lies at 0x7d00, to COM1
HALT = bytes.fromhex("f4 ebfd")


def boot_sector(text: str, end: bytes = b"") -> bytes:
    """A guest of one sector: says `text` on the serial console, does `end`, then nothing more."""
    return (SAY + end + HALT).ljust(256, b"\0") + text.encode().ljust(254, b"\0") + b"\x55\xaa"


def nothing() -> None:
    pass


def spec(directory: Path, disk: DiskSpec, generation: int = 1, **more: object) -> MachineSpec:
    return MachineSpec(
        id=VM_ID,
        name="guest",
        generation=generation,
        vcpus=1,
        memory=256 * MIB,
        accelerator=probe_accelerator().name,
        directory=directory,
        os_disk=disk,
        **more,  # type: ignore[arg-type]
    )


def sector_machine(
    directory: Path, sector: bytes, timeline: Timeline, on_exit: Callable[[], None] = nothing
) -> Machine:
    disk = directory / "disk.raw"
    disk.write_bytes(sector.ljust(MIB, b"\0"))
    return Machine.start(spec(directory / "machines" / VM_ID, DiskSpec(disk, "raw")), timeline, on_exit)


def test_the_stages_of_a_boot_are_seen_from_outside(tmp_path: Path) -> None:
    timeline, exited = Timeline(), threading.Event()
    sector = boot_sector("Linux version 6.1.0-test (x)\r\n", POWER_OFF)
    machine = sector_machine(tmp_path, sector, timeline, exited.set)
    assert machine.wait(60)
    assert exited.wait(10)
    machine.kill()
    assert [event.stage for event in timeline.events()] == [
        Stage.STARTED,
        Stage.FIRMWARE,
        Stage.KERNEL,
        Stage.STOPPED,
    ]
    kernel, stopped = timeline.find(Stage.KERNEL), timeline.find(Stage.STOPPED)
    assert kernel is not None
    assert kernel.detail == "Linux 6.1.0-test"
    assert stopped is not None
    assert stopped.detail == "powered off"
    assert b"Linux version 6.1.0-test" in machine.serial_log.read_bytes()


def test_a_panic_is_kept_in_the_kernels_words(tmp_path: Path) -> None:
    timeline = Timeline()
    machine = sector_machine(tmp_path, boot_sector("Kernel panic - not syncing: VFS\r\n"), timeline)
    deadline = time.monotonic() + 60
    while not machine.panic and time.monotonic() < deadline:
        timeline.wait(Stage.STOPPED, timeout=0.1)
    assert machine.panic == "Kernel panic - not syncing: VFS"
    machine.kill()
    assert not machine.running


def test_what_an_earlier_boot_said_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    directory = tmp_path / "machines" / VM_ID
    directory.mkdir(parents=True)
    (directory / "serial.log").write_text("Linux version 5.0 (x)\nKernel panic - not syncing: old\n")
    timeline = Timeline()
    machine = sector_machine(tmp_path, boot_sector("hello\r\n", POWER_OFF), timeline)
    assert machine.wait(60)
    assert timeline.find(Stage.KERNEL) is None
    assert machine.panic == ""
    assert b"5.0" in machine.serial_log.read_bytes()


def test_a_guest_that_does_not_hear_its_power_button_loses_its_plug(tmp_path: Path) -> None:
    timeline = Timeline()
    machine = sector_machine(tmp_path, boot_sector("deaf\r\n"), timeline)
    assert timeline.wait(Stage.FIRMWARE, timeout=60)
    assert not machine.shutdown(0.5)
    assert not machine.running


def test_qemus_own_words_are_in_the_error(tmp_path: Path) -> None:
    timeline, exited = Timeline(), threading.Event()
    missing = DiskSpec(tmp_path / "missing.qcow2", "qcow2")
    with pytest.raises(MachineError, match=r"missing\.qcow2.*No such file"):
        Machine.start(spec(tmp_path / "m", missing), timeline, exited.set)
    assert exited.is_set()


def test_a_long_home_is_no_trouble(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 40] * 3)
    deep.mkdir(parents=True)
    machine = sector_machine(deep, boot_sector("deep\r\n", POWER_OFF), Timeline())
    assert machine.wait(60)


@pytest.mark.parametrize("generation", [1, 2])
def test_a_disk_without_a_system_reaches_the_firmware_alone(tmp_path: Path, generation: int) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    timeline = Timeline()
    disk = DiskSpec(tmp_path / "disk.raw", "raw")
    machine = Machine.start(spec(tmp_path / "m", disk, generation), timeline, nothing)
    assert timeline.wait(Stage.FIRMWARE, timeout=60)
    assert timeline.find(Stage.KERNEL) is None
    machine.kill()


SERVER = f"""
import sys, time
from pathlib import Path
from ipaddress import IPv4Address
from tests.boot.test_machine_qemu import NETWORK, MAC, ADDRESS, spec, nothing, boot_sector
from vmstamp.machine.network import Network
from vmstamp.machine.qemu import Machine
from vmstamp.machine.spec import DiskSpec, NicSpec
from vmstamp.timeline import Timeline
home = Path(sys.argv[1])
network = Network.open(NETWORK, home / "networks" / NETWORK.id)
tap = network.add_port(MAC, ADDRESS, "web", nothing)
disk = home / "disk.raw"
disk.write_bytes(boot_sector("here").ljust({MIB}, b"\\0"))
machines = home / "machines" / "{VM_ID}"
Machine.start(spec(machines, DiskSpec(disk, "raw"), nics=(NicSpec(MAC, tap),)), Timeline(), nothing)
print("ready", flush=True)
time.sleep(600)
"""


def network_or_skip(directory: Path) -> Network:
    try:
        return Network.open(NETWORK, directory, way_out=False)
    except MachineError as error:
        pytest.skip(f"no network namespace: {error}")


def test_a_killed_server_leaves_only_what_the_next_one_ends(tmp_path: Path) -> None:
    network_or_skip(tmp_path / "probe").close()
    homes = [tmp_path / "a", tmp_path / "b" / str(tmp_path).lstrip("/") / "a"]
    servers = []
    for home in homes:
        home.mkdir(parents=True)
        server = spawn(
            [sys.executable, "-c", SERVER, str(home)], stdout_pipe=True, cwd=Path(__file__).parents[2]
        )
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        servers.append(server)
    mine = (homes[0] / "machines", homes[0] / "networks")
    others = (homes[1] / "machines", homes[1] / "networks")
    assert len(find_leftovers(*mine)) >= 3  # QEMU, holder and dnsmasq; slirp4netns where there is one
    for server in servers:
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert server.stdout is not None
        server.stdout.close()
    assert end_leftovers(*mine)
    assert find_leftovers(*mine) == []
    assert find_leftovers(*others), "another home's processes are left alone"
    end_leftovers(*others)


# The tiny guest, with a fabric of a few lines


class Fabric(HTTPServer):
    """Answers the two addresses well enough for the tiny guest; remembers who asked for what."""

    def __init__(self, listener: socket.socket, asked: list[str]) -> None:
        super().__init__(("", 0), Answers, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.asked = asked
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    server: Fabric

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.server.asked.append(f"{self.client_address[0]} {self.command} {self.path} {body}")
        answer = b"{}"
        if "goalstate" in self.path:
            answer = (
                b"<GoalState><Incarnation>1</Incarnation><Container><ContainerId>c</ContainerId>"
                b"<InstanceId>i</InstanceId></Container></GoalState>"
            )
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = network_or_skip(tmp_path / "networks" / NETWORK.id)
    yield made
    made.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    home = Home(tmp_path / "home")
    KEPT.mkdir(parents=True, exist_ok=True)
    home.make()
    home.recipes.rmdir()
    home.recipes.symlink_to(KEPT, target_is_directory=True)
    return build("tiny", tmp_path / "tiny.raw", home, lambda step, share: None)


def test_a_guest_is_provisioned_reached_and_folded(tmp_path: Path, network: Network, tiny: Path) -> None:
    directory = tmp_path / "machines" / VM_ID
    directory.mkdir(parents=True)
    size = tiny.stat().st_size
    overlays = [directory / "os.qcow2", directory / "data5.qcow2"]
    empty = tmp_path / "empty.raw"
    os.truncate(os.open(empty, os.O_CREAT | os.O_WRONLY), 64 * MIB)
    create_overlay(overlays[0], tiny, size)
    create_overlay(overlays[1], empty, 64 * MIB)
    build_dvd({"ovf-env.xml": b"<E><HostName>web</HostName><UserName>u</UserName></E>"}, directory / "d.iso")
    asked: list[str] = []
    fabrics = [Fabric(network.listen(address, 80), asked) for address in (WIRESERVER, IMDS)]
    timeline, leased = Timeline(), threading.Event()
    tap = network.add_port(MAC, ADDRESS, "web", leased.set)
    nic = (NicSpec(MAC, tap),)
    data = (DiskSpec(overlays[1], "qcow2", lun=5),)
    machine_spec = spec(
        directory, DiskSpec(overlays[0], "qcow2"), 2, data_disks=data, dvd=directory / "d.iso", nics=nic
    )
    machine = Machine.start(machine_spec, timeline, nothing)
    os.close(tap)
    try:
        wait_for(machine, "tiny: up after")
        assert leased.is_set()
        assert [line.split()[:3] for line in asked] == [
            ["10.0.0.4", "GET", "/metadata/instance?api-version=2021-08-01&extended=true"],
            ["10.0.0.4", "GET", "/machine/?comp=goalstate"],
            ["10.0.0.4", "POST", "/machine?comp=health"],
        ]
        log = machine.serial_log.read_text(errors="replace")
        assert "tiny: address 10.0.0.4" in log
        assert "wireserver 168.63.129.16" in log
        assert "tiny: ovf-env.xml for host web, user u" in log
        assert greeting(network) == b"SSH-2.0-vmstamp_tiny web"
        machine.eject_dvd()
        assert timeline.find(Stage.DVD) is None, "our own eject is no proof that the guest read it"
        assert machine.shutdown(60)
    finally:
        machine.kill()
        for fabric in fabrics:
            fabric.close()
    assert timeline.find(Stage.KERNEL)
    assert written(overlays[0])
    assert not written(overlays[1])
    fold(overlays[0], tiny, size, tmp_path / "folded")
    assert (tmp_path / "folded").stat().st_size == size
    assert (tmp_path / "folded").read_bytes() != tiny.read_bytes()


def greeting(network: Network) -> bytes:
    host = IPv4Address("127.64.255.77")
    with socket.create_server((str(host), 0)) as free:
        port: int = free.getsockname()[1]
    forward = Forward.open(host, port, network, ADDRESS, 22)
    try:
        with socket.create_connection((str(host), port), 10) as client, client.makefile("rb") as lines:
            return lines.readline().strip()
    finally:
        forward.close()


def wait_for(machine: Machine, words: str) -> None:
    deadline = time.monotonic() + 120
    while words not in (said := machine.serial_log.read_text(errors="replace")):
        assert machine.running, said[-2000:]
        assert time.monotonic() < deadline, said[-2000:]
        machine.wait(0.1)
