"""`vmstamp down` while a guest runs that does not hear its power button: said, given up, forced."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.boot.test_machine_qemu import WRITE_DISK
from tests.client.test_cli_stamp import VMSTAMP, Stamp
from vmstamp.run import spawn

pytestmark = [pytest.mark.boot, pytest.mark.timeout(600)]
MIB = 1024 * 1024


@pytest.fixture
def stamp(tmp_path: Path) -> Iterator[Stamp]:
    found = Stamp(tmp_path)
    found("up")
    yield found
    found("down", "--force")


def deaf_guest(stamp: Stamp) -> None:
    """A VM whose system is one sector: it writes to its disk, says so, and halts for ever."""
    sector = (WRITE_DISK + b"written\0").ljust(510, b"\0") + b"\x55\xaa"
    path = stamp.root / "deaf.raw"
    path.write_bytes(sector.ljust(4 * MIB, b"\0"))
    url = stamp.json("upload", path)["url"]
    stamp("image", "create", "deaf", "--source", url, "--generation", "1")
    stamp("vm", "create", "deaf-1", "--image", "deaf", "--no-wait")
    until(lambda: "written" in consoles(stamp))


def consoles(stamp: Stamp) -> str:
    return "".join(log.read_text() for log in stamp.root.glob("home/machines/*/serial.log"))


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_guest_that_does_not_answer_is_told_and_its_plug_pulled_on_demand(stamp: Stamp) -> None:
    deaf_guest(stamp)
    said = stamp.root / "said"
    process = spawn([VMSTAMP, "down"], env=stamp.env, output=said)
    until(lambda: "waiting for deaf-1 to shut down: 180 s at most" in said.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "the stamp goes on stopping: vmstamp down waits again" in said.read_text()
    assert "is starting or stopping" in stamp("status", status=3).text
    error = stamp.error("up")
    assert "is starting or stopping at this moment" in error["message"]
    assert "vmstamp down --force" in error["hint"]
    began = time.monotonic()
    assert stamp.json("down", "--force")["stopped"]
    assert time.monotonic() - began < 60, "of 180 seconds that the guest would have"
    assert stamp.json("status", status=3)["pid"] is None
    assert stamp.json("down")["stopped"] is False
    assert stamp.json("up")["started"]
    until(lambda: stamp.json("status")["vms"] != [])
