"""A file appears whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmstamp.disk.convert import convert
from vmstamp.disk.file import replacing
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError


def test_a_file_that_is_there_is_refused_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.raw"
    path.write_bytes(b"old")
    with pytest.raises(DiskError, match="is there already") as caught:
        convert(MemoryDisk(512, {}), path, overwrite=False)
    assert "--overwrite" in caught.value.hint
    assert path.read_bytes() == b"old"


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(DiskError, match="is there already"), replacing(path, overwrite=False):
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(DiskError, match="no regular file"), replacing(Path("/dev/null")):
        raise AssertionError("not reached")


def test_a_file_that_replaces_another_has_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.raw"
    path.write_bytes(b"old")
    path.chmod(0o600)
    convert(MemoryDisk(512, {}), path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to somebody else")
def test_a_file_that_replaces_another_has_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "out.raw"
    path.write_bytes(b"old")
    os.chown(path, 1234, 4321)
    convert(MemoryDisk(512, {}), path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
