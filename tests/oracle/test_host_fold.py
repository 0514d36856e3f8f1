"""What the host gives back of a stopped VM's disk, written to by qemu-io."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmstamp.arm.compute.host import DiskPlan
from vmstamp.fabric.fabric import Fabric
from vmstamp.host import VmHost
from vmstamp.machine.accelerator import Accelerator
from vmstamp.machine.overlay import create_overlay
from vmstamp.paths import Home
from vmstamp.run import run

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
    fabric = Fabric()
    accelerator = Accelerator("tcg", "a test")
    yield VmHost(
        home, fabric, lambda: accelerator, lambda: datetime.now(UTC), ready_timeout=10, way_out=False
    )
    fabric.close()


def test_only_what_was_written_over_this_very_content_is_folded(host: VmHost, home: Home) -> None:
    content, overlay = home.content / "a", home.machine(VM) / "os.qcow2"
    content.write_bytes(b"data".ljust(MIB, b"\0") + b"footer".ljust(512, b"\0"))
    disk = DiskPlan(content, MIB, None, overlay.name)
    create_overlay(overlay, content, MIB)
    (home.machine(VM) / "backing.json").write_text(json.dumps({overlay.name: str(content)}))
    assert host.fold(VM, disk) is None, "nothing was written"
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 64k 4k", overlay])
    folded = host.fold(VM, disk)
    assert folded is not None
    bytes_ = folded.read_bytes()
    assert bytes_[: 4 + 65532] == b"data".ljust(65536, b"\0")
    assert bytes_[65536 : 65536 + 4096] == b"\7" * 4096
    assert bytes_[MIB:] == b"footer".ljust(512, b"\0")
    adopted = DiskPlan(home.content / "b", MIB, None, overlay.name)
    assert host.fold(VM, adopted) is None, "it lies over other content"
