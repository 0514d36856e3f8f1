"""Whether an XFS was unmounted: made by mkfs.xfs, written by the kernel in User Mode Linux."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

import vmstamp.disk
from tests.guests import in_uml
from vmstamp.guest.doctor import select
from vmstamp.guest.facts import gather
from vmstamp.guest.files.window import Window
from vmstamp.guest.files.xfs_log import find_unmounted
from vmstamp.guest.finding import Finding, judge

MIB = 1024 * 1024
pytestmark = pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="mkfs.xfs (xfsprogs) is missing")
needs_uml = pytest.mark.skipif(
    shutil.which("linux.uml") is None, reason="linux.uml (user-mode-linux) is missing"
)


def make_xfs(path: Path, *options: str) -> Path:
    with path.open("wb") as file:
        file.truncate(320 * MIB)
    subprocess.run(["mkfs.xfs", "-q", "-f", *options, path], check=True, capture_output=True)
    return path


def unmounted(path: Path) -> bool | None:
    with vmstamp.disk.open(path) as disk:
        return find_unmounted(Window(disk, 0, disk.size))


def log_of(path: Path) -> int:
    """Where the log begins, by the superblock's own numbers."""
    with path.open("rb") as file:
        head = file.read(512)
    block, group = (struct.unpack_from(">I", head, at)[0] for at in (4, 0x54))
    (start,) = struct.unpack_from(">Q", head, 0x30)
    return int(((start >> head[0x7C]) * group + (start & ((1 << head[0x7C]) - 1))) * block)


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize(
    ("options", "headers"),
    [((), 1), (("-l", "su=256k"), 8), (("-m", "crc=0"), 1), (("-b", "size=1024"), 1)],
)
def test_a_new_file_system_is_unmounted(tmp_path: Path, options: tuple[str, ...], headers: int) -> None:
    path = make_xfs(tmp_path / "xfs.raw", *options)
    assert unmounted(path) is True
    patch(path, log_of(path) + headers * 512 + 9, b"\0")  # the flag of the only operation
    assert unmounted(path) is False


def test_without_a_log_nothing_is_known(tmp_path: Path) -> None:
    path = make_xfs(tmp_path / "xfs.raw")
    patch(path, log_of(path), bytes(2 * MIB))
    assert unmounted(path) is None
    patch(path, 0x30, bytes(8))
    assert unmounted(path) is None
    patch(path, 0, bytes(512))
    assert unmounted(path) is None


def clean(path: Path) -> Finding:
    with vmstamp.disk.open(path) as disk:
        (check,) = select(["fs-dirty"])
        return judge(check, gather(disk))


@needs_uml
def test_a_file_system_that_was_not_unmounted_is_told(tmp_path: Path) -> None:
    path = make_xfs(tmp_path / "xfs.raw")
    mounted = "mkdir /mnt/a; mount -t xfs /dev/ubda /mnt/a; echo x > /mnt/a/file; sync"
    in_uml(path, f"{mounted}; umount /mnt/a")
    assert clean(path).found == "every file system was unmounted cleanly"
    in_uml(path, mounted)
    finding = clean(path)
    assert (finding.status, finding.where) == ("warning", "the whole disk")
    in_uml(path, f"{mounted}; umount /mnt/a")
    assert clean(path).status == "pass"
