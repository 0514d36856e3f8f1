"""QEMU from its start to its end, with a guest of one boot sector that writes to the serial port."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vmstamp.errors import MachineError
from vmstamp.machine.leftovers import find_leftovers
from vmstamp.machine.media import build_dvd
from vmstamp.machine.overlay import copy_sparse, create_overlay, fold, written
from vmstamp.machine.qemu import Machine
from vmstamp.machine.spec import DiskSpec, MachineSpec
from vmstamp.timeline import Stage, Timeline

pytestmark = [pytest.mark.boot, pytest.mark.timeout(120)]

VM_ID = "7c1e5201-1234-2256-3333-444455556666"
# Real mode, loaded at 0x7c00: writes the text at 0x7c1d up to its zero byte to COM1.
WRITE_TEXT = bytes.fromhex("fc 31c0 8ed8 be1d7c baf803 ac 84c0 7403 ee ebf8")
# Writes its own sector to the second one of the disk, then the text at 0x7c2a to COM1, and halts.
WRITE_DISK = bytes.fromhex(
    "31c0 8ed8 8ec0 bb007c b80103 b90200 ba8000 cd13 fc 31c0 8ed8 be2a7c baf803 ac 84c0 7403 ee ebf8 f4 ebfd"
)
HALT = bytes.fromhex("f4 ebfd").ljust(10, b"\x90")
POWER_OFF = bytes.fromhex("ba0406 b80020 ef f4 ebfd").ljust(10, b"\x90")  # S5 by PIIX4's PM1a control


def boot_sector(text: str, then: bytes) -> bytes:
    code = WRITE_TEXT + then
    assert len(code) == 0x1D
    return (code + text.encode() + b"\0").ljust(510, b"\0") + b"\x55\xaa"


@dataclass
class Run:
    machine: Machine
    timeline: Timeline
    exits: list[str]


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    disk = tmp_path / "os.raw"
    return MachineSpec(VM_ID, "one", 1, 1, 64 << 20, "tcg", tmp_path, DiskSpec(disk, "raw"))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    started: list[Machine] = []
    yield started
    for machine in started:
        machine.kill()
    assert find_leftovers(tmp_path) == []


def start(spec: MachineSpec, machines: list[Machine], text: str = "", then: bytes = HALT) -> Run:
    spec.os_disk.file.write_bytes(boot_sector(text, then).ljust(1 << 20, b"\0"))
    timeline, exits = Timeline(), list[str]()
    machine = Machine.start(spec, timeline, lambda: exits.append(threading.current_thread().name))
    machines.append(machine)
    return Run(machine, timeline, exits)


def pid_of(spec: MachineSpec) -> int:
    (pid,) = find_leftovers(spec.directory)
    return pid


def test_what_the_kernel_says_is_marked_and_a_panic_is_known(
    spec: MachineSpec, machines: list[Machine]
) -> None:
    text = "[0.0] Linux version 6.1.0-x (gcc)\r\n[1.0] Kernel panic - not syncing: no init\r\n"
    ran = start(spec, machines, text)
    event = ran.timeline.wait(Stage.KERNEL, timeout=60)
    assert event is not None
    assert event.detail == "Linux 6.1.0-x"
    reached = [event.stage for event in ran.timeline.events()]
    assert reached == [Stage.STARTED, Stage.FIRMWARE, Stage.KERNEL]
    while not ran.machine.panic:
        assert not ran.machine.wait(0.1)
    assert ran.machine.panic == "Kernel panic - not syncing: no init"
    ran.machine.kill()
    assert ran.machine.serial_log.read_bytes() == text.encode()


def test_what_a_running_guest_wrote_is_in_a_copy_of_its_overlay(
    spec: MachineSpec, machines: list[Machine], tmp_path: Path
) -> None:
    sector = (WRITE_DISK + b"written\0").ljust(510, b"\0") + b"\x55\xaa"
    backing, overlay = tmp_path / "backing", tmp_path / "os.qcow2"
    backing.write_bytes(sector.ljust(1 << 20, b"\0"))
    create_overlay(overlay, backing, 1 << 20)
    machine = Machine.start(replace(spec, os_disk=DiskSpec(overlay, "qcow2")), Timeline(), lambda: None)
    machines.append(machine)
    while not spec.serial_log.exists() or "written" not in spec.serial_log.read_text():
        assert not machine.wait(0.1)
    with machine.paused():
        copy_sparse(overlay, tmp_path / "copy")
    assert written(tmp_path / "copy")
    fold(tmp_path / "copy", backing, 1 << 20, tmp_path / "folded")
    assert (tmp_path / "folded").read_bytes() == (sector + sector).ljust(1 << 20, b"\0")
    with machine.paused():
        pass
    assert machine.running


def test_a_data_disk_comes_and_goes_while_the_machine_runs(
    spec: MachineSpec, machines: list[Machine], tmp_path: Path
) -> None:
    ran = start(spec, machines, "up\r\n")
    (tmp_path / "data.raw").write_bytes(bytes(1 << 20))
    disk = DiskSpec(tmp_path / "data.raw", "raw", lun=7)
    for _ in range(2):
        ran.machine.attach(disk)
        with pytest.raises(MachineError, match="QEMU refused"):
            ran.machine.attach(disk)
        ran.machine.detach(disk)
    with pytest.raises(MachineError, match="QEMU refused device_del"):
        ran.machine.detach(disk)
    assert ran.machine.running
    ran.machine.kill()
    with pytest.raises(MachineError, match="does not run"):
        ran.machine.attach(disk)


def test_the_screen_shows_what_the_firmware_wrote(spec: MachineSpec, machines: list[Machine]) -> None:
    ran = start(spec, machines, "up\r\n")
    while not spec.serial_log.exists() or b"up" not in spec.serial_log.read_bytes():
        assert not ran.machine.wait(0.1)
    picture = ran.machine.screen()
    assert picture[:2] == b"BM" and len(set(picture[54:])) > 1
    assert not (spec.directory / "screen.ppm").exists()
    ran.machine.kill()
    with pytest.raises(MachineError, match="does not run"):
        ran.machine.screen()


def test_an_earlier_boots_words_are_not_taken_for_this_ones(
    spec: MachineSpec, machines: list[Machine]
) -> None:
    spec.serial_log.write_text("Linux version 5.0 of the boot before\nKernel panic - not syncing: before\n")
    ran = start(spec, machines, "now\r\n")
    assert ran.timeline.wait(Stage.FIRMWARE, timeout=60)
    while "now" not in spec.serial_log.read_text():
        assert not ran.machine.wait(0.1)
    ran.machine.kill()
    assert ran.timeline.find(Stage.KERNEL) is None
    assert ran.machine.panic == ""


def test_a_guest_that_powers_itself_off_ends_its_machine(spec: MachineSpec, machines: list[Machine]) -> None:
    ran = start(spec, machines, "bye", POWER_OFF)
    assert ran.machine.wait(60)
    event = ran.timeline.wait(Stage.STOPPED, timeout=5)
    assert event is not None
    assert event.detail == "powered off"
    assert not ran.machine.running
    ran.machine.kill()
    ran.machine.eject_dvd()
    assert ran.exits == ["machine-one"], "told once, from the machine's own thread"


def test_a_killed_qemu_is_told_by_its_signal(spec: MachineSpec, machines: list[Machine]) -> None:
    ran = start(spec, machines)
    os.kill(pid_of(spec), signal.SIGKILL)
    assert ran.machine.wait(10)
    event = ran.timeline.wait(Stage.STOPPED, timeout=5)
    assert event is not None
    assert event.detail == "QEMU ended with signal 9"


def test_a_guest_without_acpi_has_its_plug_pulled(spec: MachineSpec, machines: list[Machine]) -> None:
    ran = start(spec, machines)
    assert not ran.machine.shutdown(0.5)
    assert not ran.machine.running
    assert ran.exits == ["machine-one"]


def test_a_guest_without_a_system_that_wrote_nothing_is_not_waited_for(
    spec: MachineSpec, machines: list[Machine]
) -> None:
    ran = start(spec, machines)
    began = time.monotonic()
    assert not ran.machine.shutdown(60)
    assert time.monotonic() - began < 30


def test_a_guest_that_wrote_is_waited_for_until_its_time_is_over_or_given_up(
    spec: MachineSpec, machines: list[Machine]
) -> None:
    sector = (WRITE_DISK + b"written\0").ljust(510, b"\0") + b"\x55\xaa"
    spec.os_disk.file.write_bytes(sector.ljust(1 << 20, b"\0"))
    machine = Machine.start(spec, Timeline(), lambda: None)
    machines.append(machine)
    while not spec.serial_log.exists() or "written" not in spec.serial_log.read_text():
        assert not machine.wait(0.1)
    began = time.monotonic()
    assert not machine.shutdown(60, give_up=lambda: time.monotonic() - began > 9)
    assert time.monotonic() - began > 9, "longer than one with nothing to lose"


def test_qemus_own_words_say_why_it_did_not_start(
    spec: MachineSpec, machines: list[Machine], tmp_path: Path
) -> None:
    broken = replace(spec, os_disk=DiskSpec(tmp_path / "os.qcow2", "qcow2"))
    (tmp_path / "os.qcow2").write_bytes(bytes(512))
    exits: list[None] = []
    timeline = Timeline()
    with pytest.raises(MachineError, match=r"QEMU did not start for one: .*not in qcow2 format") as error:
        Machine.start(broken, timeline, lambda: exits.append(None))
    assert str(tmp_path / "qemu.log") in error.value.hint
    assert exits == [None]
    assert timeline.find(Stage.STARTED) is None
    assert find_leftovers(tmp_path) == []


def test_a_deep_directory_is_no_hindrance(spec: MachineSpec, machines: list[Machine], tmp_path: Path) -> None:
    """The names of Unix sockets have 107 bytes; a monitor's must not be one."""
    deep = tmp_path.joinpath(*["a directory of many"] * 8)
    deep.mkdir(parents=True)
    ran = start(replace(spec, directory=deep, os_disk=DiskSpec(deep / "os,1.raw", "raw")), machines, "up")
    assert ran.timeline.wait(Stage.FIRMWARE, timeout=60)


def test_our_own_eject_is_no_proof_that_the_guest_read_its_dvd(
    spec: MachineSpec, machines: list[Machine], tmp_path: Path
) -> None:
    build_dvd({"ovf-env.xml": b"<e/>"}, tmp_path / "dvd.iso")
    run = start(replace(spec, dvd=tmp_path / "dvd.iso"), machines)
    assert run.timeline.wait(Stage.FIRMWARE, timeout=60)
    run.machine.eject_dvd()
    run.machine.eject_dvd()
    assert run.machine.running
    run.machine.kill()
    assert run.timeline.find(Stage.DVD) is None
