"""qcow2 and VMDK files as we have QEMU write them: whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk.foreign_writer import write_foreign
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError, ProgramMissing
from vmstamp.extents import Extent
from vmstamp.run import run, spawn

MIB = 1024 * 1024
FORMATS = ["qcow2", "vmdk"]
DEADLINE = 20.0  # seconds

KILLED = """
import os, signal, sys
from pathlib import Path
from vmstamp.disk.foreign_writer import write_foreign
from vmstamp.disk.memory import MemoryDisk

def die(length):
    os.kill(os.getpid(), signal.SIGKILL)

write_foreign(sys.argv[2], MemoryDisk(9 << 20, {0: b"a", 8 << 20: b"b"}), Path(sys.argv[1]), die)
"""


class Broken(MemoryDisk):
    """A disk that cannot be read at its end."""

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, 512)
        raise DiskError("source", "is broken")


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def holders(path: Path) -> list[int]:
    """The processes whose command line names a file beside `path` that is not finished."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:  # it has ended
            continue
        if f"{path.parent}/.{path.name}.".encode() in line:
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize("to", FORMATS)
def test_what_is_written_is_sound_sparse_and_rounded_to_sectors(tmp_path: Path, to: str) -> None:
    path = tmp_path / "disk"
    source = MemoryDisk(1024**4 + 100, {0: b"start", 700 * 1024**3: b"x" * 70_000, 1024**4 + 97: b"end"})
    read: list[int] = []
    write_foreign(to, source, path, read.append)
    told = json.loads(run(["qemu-img", "info", "-f", to, "--output=json", path]).stdout)
    assert told["virtual-size"] == 1024**4 + 512
    assert path.stat().st_blocks * 512 < 40 * MIB
    assert sum(read) == sum(extent.length for extent in source.extents())
    run(["qemu-img", "check", "-f", to, path])
    with disk.open(path) as opened:
        assert opened.read(700 * 1024**3, 70_000) == b"x" * 70_000
        assert opened.read(1024**4 + 97, 3) == b"end"
    assert names(tmp_path) == ["disk"]


def test_a_vmdk_is_one_sparse_file(tmp_path: Path) -> None:
    write_foreign("vmdk", MemoryDisk(MIB, {}), tmp_path / "a.vmdk")
    told = json.loads(run(["qemu-img", "info", "-f", "vmdk", "--output=json", tmp_path / "a.vmdk"]).stdout)
    assert told["format-specific"]["data"]["create-type"] == "monolithicSparse"


def test_zeros_in_the_source_take_no_room(tmp_path: Path) -> None:
    write_foreign("qcow2", MemoryDisk(64 * MIB, {0: bytes(64 * MIB)}), tmp_path / "a")
    assert (tmp_path / "a").stat().st_blocks * 512 < MIB


@pytest.mark.parametrize("to", FORMATS)
def test_a_source_that_fails_leaves_the_old_file_and_nothing_beside(tmp_path: Path, to: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    with pytest.raises(DiskError, match="is broken"):
        write_foreign(to, Broken(MIB, {0: b"a"}), path)
    assert (path.read_bytes(), names(tmp_path), holders(path)) == (b"old", ["disk"], [])


def test_a_file_that_is_replaced_gives_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_foreign("qcow2", MemoryDisk(MIB, {}), path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["nbd:x", "a:b.qcow2", "a,b=c", "-f"])
def test_a_name_that_qemu_would_take_for_something_else_is_a_files(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_foreign("qcow2", MemoryDisk(MIB, {5: b"five"}), Path(name))
    with disk.open(Path(name)) as opened:
        assert opened.read(5, 4) == b"five"


def test_a_directory_that_is_not_there_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file or directory"):
        write_foreign("qcow2", MemoryDisk(MIB, {}), tmp_path / "nowhere" / "disk")


def test_without_qemu_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissing) as caught:
        write_foreign("qcow2", MemoryDisk(MIB, {}), tmp_path / "disk")
    assert "qemu-utils" in caught.value.hint
    assert names(tmp_path) == []


@pytest.mark.parametrize("to", FORMATS)
def test_sigkill_leaves_the_old_file_and_no_process(tmp_path: Path, to: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    killed = spawn([sys.executable, "-c", KILLED, str(path), to])
    assert killed.wait() == -signal.SIGKILL
    for process in holders(path):  # qemu-nbd sees the end of its connection
        with contextlib.suppress(ProcessLookupError):
            watch = os.pidfd_open(process)
            assert select.select([watch], [], [], DEADLINE)[0], "qemu-nbd goes on"
            os.close(watch)
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("to", FORMATS)
def test_a_packed_disk_is_read_by_qemu_without_a_name(tmp_path: Path, to: str) -> None:
    source = MemoryDisk(9 * MIB, {0: b"a" * 70_000, 8 * MIB: b"b" * 70_000})
    write_foreign(to, source, tmp_path / "disk")
    (tmp_path / "disk.gz").write_bytes(gzip.compress((tmp_path / "disk").read_bytes()))
    with disk.open(tmp_path / "disk.gz", unpack=True) as opened:
        assert opened.format == to
        assert disk.compare(opened, source) is None


@pytest.mark.parametrize("to", FORMATS)
def test_dense_random_data_reads_back(tmp_path: Path, to: str) -> None:
    content = random.Random(5).randbytes(9 * MIB)
    write_foreign(to, MemoryDisk(len(content), {0: content}), tmp_path / "disk")
    with disk.open(tmp_path / "disk") as opened:
        assert opened.read(0, opened.size) == content
