"""What the host knows without a running VM: records of earlier boots, ports, and VMs that never ran."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vmstamp.arm.compute.host import DiskPlan, Outcome
from vmstamp.fabric.fabric import Fabric
from vmstamp.host import VmHost, offered_ports, read_timeline, tell, timed_out
from vmstamp.machine.accelerator import Accelerator
from vmstamp.paths import Home
from vmstamp.timeline import Event, Stage, Timeline

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
VM = "7c1e5201-1234-2256-3333-444455556666"
MIB = 1 << 20


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.make()
    made.machine(VM).mkdir()
    return made


@pytest.fixture
def host(home: Home) -> Iterator[VmHost]:
    fabric = Fabric(lambda: START)
    yield VmHost(
        home, fabric, lambda: Accelerator("tcg", "a test"), lambda: START, ready_timeout=10, way_out=False
    )
    fabric.close()


def line(stage: str, seconds: float, detail: str = "") -> str:
    at = START + timedelta(seconds=seconds)
    return json.dumps({"stage": stage, "at": at.isoformat(), "detail": detail})


def test_the_timeline_of_an_earlier_server_is_read_from_its_file(host: VmHost, home: Home) -> None:
    (home.machine(VM) / "timeline.jsonl").write_text(f"{line('started', 0, 'QEMU')}\n{line('ready', 1.5)}\n")
    ready = START + timedelta(seconds=1.5)
    assert host.timeline(VM) == [Event(Stage.STARTED, START, "QEMU"), Event(Stage.READY, ready)]


@pytest.mark.parametrize(
    "damage",
    ['{"stage": "rea', '{"stage": "unheard of", "at": "2026-01-02", "detail": ""}', "[]", "{}", "\0"],
)
def test_a_line_that_a_crash_left_is_passed_over(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "timeline.jsonl"
    path.write_text(f"{line('started', 0)}\n{damage}\n{line('kernel', 2)}\n")
    assert [event.stage for event in read_timeline(path)] == [Stage.STARTED, Stage.KERNEL]


def test_no_file_is_no_events(tmp_path: Path) -> None:
    assert read_timeline(tmp_path / "timeline.jsonl") == []


def test_a_timeline_is_told_in_seconds_since_its_first_event() -> None:
    times = iter([START, START + timedelta(seconds=12.34)])
    timeline = Timeline(lambda: next(times))
    assert tell(timeline) == "Nothing was seen of it."
    timeline.mark(Stage.STARTED)
    timeline.mark(Stage.GOAL_STATE)
    assert tell(timeline) == "Timeline: started +0.0 s, goal state +12.3 s."


@pytest.mark.parametrize(
    ("port", "offered"), [(22, (10022, 22)), (1023, (11023, 1023)), (1024, (1024,)), (8080, (8080,))]
)
def test_ports_of_root_are_surely_offered_ten_thousand_up(port: int, offered: tuple[int, ...]) -> None:
    assert offered_ports(port) == offered


def test_a_vm_that_does_not_run_is_not_ready_and_needs_no_stop(host: VmHost, home: Home) -> None:
    expected = Outcome(False, "OSProvisioningInternalError", "The VM does not run.")
    assert host.wait_ready(VM, lambda: False) == expected
    assert not host.running(VM)
    assert host.agent(VM) is None
    assert host.timeline(VM) == []
    host.stop(VM, graceful=True)
    host.remove(VM)
    host.remove(VM)
    assert not home.machine(VM).exists()


def test_software_emulation_has_more_time(host: VmHost) -> None:
    assert host.ready_limit == 30


def test_a_disk_that_never_ran_has_nothing_to_fold(host: VmHost, home: Home) -> None:
    assert host.fold(VM, DiskPlan(home.content / "a", MIB, None, "os.qcow2")) is None


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (True, "However, the VM guest agent was detected running. This suggests the guest OS has not been"),
        (False, "The VM may still finish provisioning successfully. Please check provisioning state later."),
    ],
)
def test_late_vm_is_told_by_whether_its_agent_runs(runs: bool, said: str) -> None:
    text = timed_out("web", 12.4, agent_runs=runs)
    assert text.startswith(f"OS Provisioning for VM 'web' did not finish in the allotted time. {said}")
    assert text.endswith("No agent reported Ready within 12 s.")
