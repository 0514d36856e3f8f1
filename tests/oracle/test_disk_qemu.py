"""Ours against QEMU's block drivers, both directions, blocks in scrambled order."""

from __future__ import annotations

import json
import os
import random
import signal
import zlib
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.fixed_vhd import make_footer, parse_footer
from vmstamp.disk.footer import geometry
from vmstamp.disk.foreign import ForeignDisk, open_foreign
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError
from vmstamp.run import run, spawn

MIB, GIB = 1024**2, 1024**3

DYNAMIC = {
    "qcow2": ["-f", "qcow2"],
    "vmdk": ["-f", "vmdk"],
    "vdi": ["-f", "vdi"],
}


def scramble(path: Path, format: str, size: int, seed: int) -> bytearray:
    """Let QEMU write patterns at random places in random order; the bytes that must be there."""
    rng = random.Random(seed)
    expected = bytearray(size)
    commands = []
    for _ in range(40):
        offset = rng.randrange(size // 512 - 1) * 512
        length = min(rng.choice([512, 4096, 100 * 512, 3 * MIB]), size - offset)
        pattern = rng.randrange(1, 256)
        commands += ["-c", f"write -P {pattern} {offset} {length}"]
        expected[offset : offset + length] = bytes([pattern]) * length
    run(["qemu-io", "-f", format, *commands, path])
    return expected


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", list(DYNAMIC))
def test_what_qemu_scattered_is_read(tmp_path: Path, kind: str, seed: int) -> None:
    path, size = tmp_path / "disk", 67 * MIB + 512 * 3
    run(["qemu-img", "create", *DYNAMIC[kind], path, str(size)])
    expected = scramble(path, DYNAMIC[kind][1], size, seed)
    with disk.open(path) as opened:
        assert opened.size == size
        assert zlib.crc32(opened.read(0, size)) == zlib.crc32(expected)
        rebuilt = bytearray(size)
        for start, end in opened.extents():
            rebuilt[start:end] = opened.read(start, end - start)
        assert zlib.crc32(rebuilt) == zlib.crc32(expected)
        rng = random.Random(seed)
        for _ in range(100):
            offset = rng.randrange(size)
            length = min(rng.choice([1, 513, MIB, 5 * MIB]), size - offset)
            assert opened.read(offset, length) == expected[offset : offset + length]


def test_qemu_takes_the_size_field_of_our_footer(tmp_path: Path) -> None:
    path, size = tmp_path / "a.vhd", 127 * GIB + MIB
    disk.convert(MemoryDisk(size, {}), path, "vhd-fixed")
    told = json.loads(run(["qemu-img", "info", "-f", "vpc", "--output=json", path]).stdout)
    assert told["virtual-size"] == size


@pytest.mark.parametrize("size", [MIB, 37 * MIB, 504 * MIB, GIB, 30 * GIB, 127 * GIB, 1023 * GIB])
def test_the_geometry_is_that_of_qemu(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.vhd"
    run(["qemu-img", "create", "-f", "vpc", "-o", "subformat=fixed", path, str(size)])
    with path.open("rb") as file:
        file.seek(-512, 2)
        footer = parse_footer(file.read(512), path, 0)
    assert geometry(footer.current_size) == footer.geometry
    assert len(make_footer(footer.current_size, footer.unique_id, footer.created)) == 512


def test_qemu_writes_into_our_vhdx(tmp_path: Path) -> None:
    path, size = tmp_path / "a.vhdx", 50 * MIB
    disk.convert(MemoryDisk(size, {5: b"hello", 20 * MIB: b"x" * 100_000}), path, "vhdx")
    run(["qemu-img", "check", "-f", "vhdx", path])
    expected = scramble(path, "vhdx", size, 3)
    with disk.open(path) as opened:
        found = opened.read(0, size)
    differing = [at for at in range(0, size, 512) if found[at : at + 512] != expected[at : at + 512]]
    ours = {0, *range(20 * MIB // 512 * 512, 20 * MIB + 100_000, 512)}
    assert set(differing) <= ours


def test_a_qcow2_is_read_through_its_backing_file_when_it_may_be_followed(tmp_path: Path) -> None:
    base, top = tmp_path / "base.raw", tmp_path / "top.qcow2"
    base.write_bytes(b"b" * MIB)
    run(["qemu-img", "create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", top, "2M"])
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 0x74 65536 65536", top])
    with pytest.raises(DiskError, match="is another file"):
        disk.open(top)
    with open_foreign(ImageFile(top), "qcow2", follow=True) as opened:
        assert opened.subformat == "differencing"
        assert opened.read(0, 2 * MIB) == b"b" * 65536 + b"t" * 65536 + b"b" * (MIB - 131072) + bytes(MIB)
        assert [tuple(extent) for extent in opened.extents()] == [(0, MIB)]


@pytest.mark.parametrize("backing", ["/etc/hostname", "../secret", "nbd:localhost:1", "file:secret"])
def test_a_backing_file_elsewhere_is_refused_before_qemu_sees_it(tmp_path: Path, backing: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 1024)
    top = inner / "top.qcow2"
    run(["qemu-img", "create", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", top, "1M"])
    with pytest.raises(DiskError, match=r"is another file|is no file's name"):
        disk.open(top)


def test_a_link_that_leads_outside_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 1024)
    (inner / "base.raw").symlink_to(tmp_path / "secret")
    run(["qemu-img", "create", "-u", "-f", "qcow2", "-b", "base.raw", "-F", "raw", inner / "top", "1M"])
    with pytest.raises(DiskError, match="is another file"):
        disk.open(inner / "top")


def test_a_qcow2_that_is_its_own_backing_file_is_refused(tmp_path: Path) -> None:
    run(["qemu-img", "create", "-u", "-f", "qcow2", "-b", "b", "-F", "qcow2", tmp_path / "a", "1M"])
    run(["qemu-img", "create", "-u", "-f", "qcow2", "-b", "a", "-F", "qcow2", tmp_path / "b", "1M"])
    with pytest.raises(DiskError, match="backing files"):
        open_foreign(ImageFile(tmp_path / "a"), "qcow2", follow=True)


def test_an_encrypted_qcow2_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    run(["qemu-img", "create", "-f", "qcow2", path, "1M"])
    data = bytearray(path.read_bytes())
    data[35] = 2  # crypt_method: LUKS
    path.write_bytes(data)
    with pytest.raises(DiskError, match="is encrypted"):
        disk.open(path)


def test_a_qcow2_with_external_data_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    run(["qemu-img", "create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", path, "1M"])
    with pytest.raises(DiskError, match="keeps its data in another file"):
        disk.open(path)


def test_a_vmdk_descriptor_that_names_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.vmdk"
    path.write_text('# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 2 FLAT "/etc/hostname" 0\n')
    with pytest.raises(DiskError, match="lies outside"):
        disk.open(path)


def test_an_extent_line_that_qemu_reads_more_loosely_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 1024)
    (inner / "own").write_bytes(b"o" * 1024)
    path = inner / "a.vmdk"
    path.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        f'RW 2 FLAT "own" 0\n \x0bRW 2 FLAT "{tmp_path}/secret" 0\n'
    )
    told = json.loads(run(["qemu-img", "info", "-f", "vmdk", "--output=json", path]).stdout)
    assert told["virtual-size"] == 2048  # QEMU takes both
    with pytest.raises(DiskError, match="line 7 of the descriptor cannot be"):
        disk.open(path)


def test_split_flat_extents_beside_their_descriptor_are_read(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "a.vmdk"
    plain.write_bytes(random.Random(8).randbytes(4 * MIB))
    run(["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat", plain, path])
    with disk.open(path) as opened:
        assert opened.read(0, opened.size) == plain.read_bytes()


def test_a_vmdk_snapshot_is_refused_by_name(tmp_path: Path) -> None:
    run(["qemu-img", "create", "-f", "vmdk", tmp_path / "base.vmdk", "1M"])
    run(
        ["qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", tmp_path / "top.vmdk"],
        cwd=tmp_path,
    )
    with pytest.raises(DiskError, match="snapshot of another VMDK"):
        disk.open(tmp_path / "top.vmdk")


@pytest.mark.parametrize("kind", ["qcow2", "vmdk", "vdi"])
def test_cut_and_flipped_foreign_files_give_our_error_or_the_bytes(tmp_path: Path, kind: str) -> None:
    whole, path = tmp_path / "whole", tmp_path / "disk"
    run(["qemu-img", "create", "-f", kind, whole, "4M"])
    run(["qemu-io", "-f", kind, "-c", "write -P 1 1M 1M", whole])
    data = bytearray(whole.read_bytes())
    rng = random.Random(4)
    for number in range(30):
        spoiled = bytearray(data)
        if number % 3 == 0:
            del spoiled[rng.randrange(len(data)) :]
        else:
            spoiled[rng.randrange(4, 600)] ^= 1 << rng.randrange(8)
        path.write_bytes(spoiled)
        try:
            with disk.open(path) as opened:
                for start, end in opened.extents():
                    opened.read(start, min(end - start, MIB))
        except DiskError as error:
            assert str(path) in str(error)


def test_a_disk_that_a_program_is_writing_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    run(["qemu-img", "create", "-f", "qcow2", path, "1M"])
    writer = spawn(["qemu-io", "-f", "qcow2", path], stdin_pipe=True, stdout_pipe=True)
    assert writer.stdin is not None and writer.stdout is not None
    try:
        writer.stdout.read(1)  # its prompt: the disk is open
        with pytest.raises(DiskError, match="lock") as caught:
            disk.open(path)
        assert "virtual machine may hold it" in caught.value.hint
    finally:
        writer.stdin.close()
        writer.wait(30)
        writer.stdout.close()


def test_a_reader_whose_qemu_is_killed_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    run(["qemu-img", "create", "-f", "qcow2", path, "1M"])
    with disk.open(path) as opened:
        assert isinstance(opened, ForeignDisk)
        os.kill(opened.process_id, signal.SIGKILL)
        with pytest.raises(DiskError, match="qemu-nbd"):
            for _ in range(100):
                opened.read(0, 512)


@pytest.mark.parametrize(
    "options",
    [
        ["-O", "qcow2"],
        ["-c", "-O", "qcow2"],
        ["-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"],
        ["-O", "vmdk"],
        ["-O", "vmdk", "-o", "subformat=streamOptimized"],
        ["-O", "vdi"],
    ],
)
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_foreign_disk_is_never_read_as_zeros(
    tmp_path: Path, options: list[str], kept: float
) -> None:
    plain, path = tmp_path / "plain", tmp_path / "disk"
    plain.write_bytes(random.Random(6).randbytes(8 * MIB))
    run(["qemu-img", "convert", "-f", "raw", *options, plain, path])
    with disk.open(path) as opened:
        assert opened.read(0, opened.size) == plain.read_bytes()
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(DiskError), disk.open(path) as opened:
        opened.read(0, opened.size)


def test_a_backing_file_is_read_only_when_it_may_be_followed(tmp_path: Path) -> None:
    base, child = tmp_path / "base.qcow2", tmp_path / "child.qcow2"
    disk.convert(MemoryDisk(MIB, {0: b"base"}), base)
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", child])
    with pytest.raises(DiskError, match="is another file") as caught:
        disk.open(child)
    assert "--follow" in caught.value.hint
    with disk.open(child, follow=True) as opened:
        assert opened.read(0, 4) == b"base"


@pytest.mark.parametrize(
    ("format", "options", "block_size"),
    [
        ("qcow2", "cluster_size=128k", 128 * 1024),
        ("vmdk", "subformat=monolithicSparse", 64 * 1024),
        ("vmdk", "subformat=monolithicFlat", None),
        ("vdi", "static=off", 1024 * 1024),
    ],
)
def test_the_size_of_what_is_allocated_at_once_is_told(
    tmp_path: Path, format: str, options: str, block_size: int | None
) -> None:
    run(["qemu-img", "create", "-q", "-f", format, "-o", options, tmp_path / "disk", "64M"])
    with disk.open(tmp_path / "disk") as opened:
        assert disk.describe(opened).block_size == block_size
