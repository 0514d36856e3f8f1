"""Disks on block devices, and devices and file systems that fail; these need root."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vmstamp import disk
from vmstamp.cli.main import cli
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError
from vmstamp.run import run

MIB = 1024 * 1024
SIZE = 8 * MIB


def vmstamp(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["disk", *map(str, words)], prog_name="vmstamp")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A loop device over `tmp_path / "behind"`."""
    if os.geteuid() != 0:
        pytest.skip("loop devices need root")
    (tmp_path / "behind").write_bytes(b"\xd1ata" * (SIZE // 4))
    made = run(["losetup", "--find", "--show", tmp_path / "behind"], check=False)
    if made.status:
        pytest.skip("there are no loop devices here")
    name = Path(made.text.strip())
    yield name
    run(["losetup", "--detach", name])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    if run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", place], check=False).status:
        pytest.skip("tmpfs cannot be mounted here")
    yield place
    run(["umount", place])


def test_a_device_is_read_and_told_with_its_size(device: Path, tmp_path: Path) -> None:
    told = json.loads(
        CliRunner().invoke(cli, ["disk", "info", "--json", str(device)], prog_name="vmstamp").stdout
    )
    assert (told["format"], told["virtual_size"], told["file_size"], told["allocated"]) == (
        "raw",
        *3 * (SIZE,),
    )
    with disk.open(device) as opened:
        disk.convert(opened, tmp_path / "a.vhdx")
    with disk.open(tmp_path / "a.vhdx") as opened:
        assert opened.read(0, SIZE) == (tmp_path / "behind").read_bytes()


@pytest.mark.parametrize("to", ["raw", "vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed", "qcow2", "vmdk"])
def test_a_source_that_fails_leaves_the_old_destination(device: Path, tmp_path: Path, to: str) -> None:
    """The kernel reads behind the end of what is left of the device as an I/O error."""
    target = tmp_path / "target"
    target.write_bytes(b"the old file")
    with disk.open(device) as opened, pytest.raises(DiskError, match="Input/output error") as caught:
        os.truncate(tmp_path / "behind", 3 * MIB)
        disk.convert(opened, target, to)
    assert caught.value.path == device
    assert caught.value.offset is not None
    assert target.read_bytes() == b"the old file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["behind", "target"]


@pytest.mark.parametrize("to", ["raw", "vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed", "qcow2", "vmdk"])
@pytest.mark.parametrize("there", [True, False])
def test_a_full_file_system_leaves_the_old_destination(small: Path, to: str, there: bool) -> None:
    target = small / "target"
    if there:
        target.write_bytes(b"the old file")
    source = MemoryDisk(SIZE, dict.fromkeys(range(0, SIZE, MIB), b"data" * (MIB // 4)))
    with pytest.raises(DiskError) as caught:
        disk.convert(source, target, to)
    assert "o space left on device" in str(caught.value)
    assert [path.read_bytes() for path in small.iterdir()] == ([b"the old file"] if there else [])
    assert os.statvfs(small).f_bavail * os.statvfs(small).f_bsize > 2 * MIB, "nothing is left that takes room"


@pytest.mark.parametrize("format", ["vhd", "vhdx"])
def test_a_full_file_system_leaves_what_was_to_be_resized_or_merged(small: Path, format: str) -> None:
    path, child = small / f"base.{format}", small / f"child.{format}"
    content = MemoryDisk(16 * MIB, {4 * MIB: b"data" * (MIB // 4), 9 * MIB: b"more" * (MIB // 8)})
    disk.convert(content, path, "vhd-fixed" if format == "vhd" else "vhdx")
    before = path.read_bytes()
    for words in (["resize", path, "32M"], ["merge", child]):
        if words[0] == "merge":
            CliRunner().invoke(
                cli, ["disk", "create", str(child), "--parent", str(path)], prog_name="vmstamp"
            )
        done = CliRunner().invoke(cli, ["disk", *map(str, words)], prog_name="vmstamp")
        assert (done.exit_code, "o space left" in done.stderr) == (1, True), done.output
        assert path.read_bytes() == before
    assert sorted(one.name for one in small.iterdir()) == sorted([path.name, child.name])


@pytest.fixture
def reflinks(tmp_path: Path) -> Iterator[Path]:
    """An XFS, whose files can share storage."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    image, place = tmp_path / "xfs", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(600 * MIB)
    run(["mkfs.xfs", "-q", "-m", "reflink=1", image])
    place.mkdir()
    if run(["mount", "-o", "loop", image, place], check=False).status:
        pytest.skip("XFS cannot be mounted here")
    yield place
    run(["umount", place])


def test_raw_disks_and_fixed_vhds_share_storage_where_files_can(reflinks: Path) -> None:
    """The raw disk's size is no whole number of MiB, or of the file system's blocks."""
    content = {MIB: b"data" * (8 * MIB), 50 * MIB: b"tail" * MIB}
    source = MemoryDisk(60 * MIB - 512, content)
    disk.convert(source, reflinks / "a.raw")
    before = os.statvfs(reflinks).f_bavail
    for path, made in (("a.raw", "b.vhd"), ("b.vhd", "c.raw"), ("c.raw", "d.raw"), ("b.vhd", "e.vhd")):
        with disk.open(reflinks / path) as opened:
            disk.convert(opened, reflinks / made)
        with disk.open(reflinks / made) as opened:
            assert opened.size == 60 * MIB
            assert disk.compare(opened, source) is None
    with disk.open(reflinks / "c.raw") as opened:
        disk.convert(opened, reflinks / "f.vhd", size=80 * MIB)
    with disk.open(reflinks / "f.vhd") as opened:
        assert (opened.size, disk.compare(opened, source)) == (80 * MIB, None)
    assert (before - os.statvfs(reflinks).f_bavail) * os.statvfs(reflinks).f_bsize < 2 * MIB
    (reflinks / "a.raw").write_bytes(b"changed")
    with disk.open(reflinks / "b.vhd") as opened:
        assert disk.compare(opened, source) is None
