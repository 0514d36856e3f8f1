"""Kinds: small valid files, by our writers and by QEMU's, where their structures lie, and their checksums."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from fuzz.seals import leave, seal_gpt, seal_vhd, seal_vhdx
from fuzz.sparse import SparseFile
from tests.unit.disk.gpt_4096 import SECTOR as SECTOR_4096
from tests.unit.disk.gpt_4096 import gpt as gpt_of_4096
from tests.unit.disk.vhdx_log import log_entry, put_log
from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, NewPartition, build_gpt
from vmstamp.disk.vhd_writer import BAT_OFFSET, BITMAP_SIZE
from vmstamp.run import run

KIB, MIB = 1024, 1024 * 1024
SIZE = 5 * MIB
CONTENT = MemoryDisk(SIZE, {0: b"\xa5" * 600, 3 * MIB + 100: b"\x5a" * 600})

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Kind:
    """`files`: the one that is mutated, within `ranges`, then those that it refers to."""

    name: str
    files: dict[str, SparseFile]
    ranges: tuple[tuple[int, int], ...]
    seal: Callable[[bytearray], None]


def make_kind(name: str) -> Kind:
    """The kind of KINDS named so. Raises ProgramMissing where QEMU's tools are needed."""
    make, seal = KINDS[name]
    with tempfile.TemporaryDirectory(prefix="vmstamp-kind-") as made:
        directory = Path(made)
        ranges = make(directory)
        others = sorted(path.name for path in directory.iterdir() if path.name != "disk")
        files = {one: SparseFile.of((directory / one).read_bytes()) for one in ("disk", *others)}
    return Kind(name, files, tuple(ranges), seal)


def spans(*places: tuple[int, int]) -> Ranges:
    """Ranges by their (offset, length)."""
    return [(at, at + length) for at, length in places]


def _vhd(path: Path, *places: tuple[int, int]) -> Ranges:
    """A VHD's footer, and `places`."""
    return spans(*places, (path.stat().st_size - 512, 96))


DYNAMIC_PLACES = ((0, 96), (512, 48), (BAT_OFFSET, 16))


def vhd_fixed(directory: Path) -> Ranges:
    disk.convert(MemoryDisk(MIB, {0: b"x"}), directory / "disk", "vhd-fixed")
    return _vhd(directory / "disk")


def vhd_dynamic(directory: Path) -> Ranges:
    disk.convert(CONTENT, directory / "disk", "vhd-dynamic")
    return _vhd(directory / "disk", *DYNAMIC_PLACES, (_first_bitmap(directory / "disk"), 64))


def vhd_qemu(directory: Path) -> Ranges:
    run(["qemu-img", "create", "-f", "vpc", directory / "disk", str(SIZE)])
    run(["qemu-io", "-f", "vpc", "-c", "write -P 1 3M 1k", "-c", "write -P 2 512 512", directory / "disk"])
    return _vhd(directory / "disk", *DYNAMIC_PLACES, (_first_bitmap(directory / "disk"), 64))


def vhd_child(directory: Path) -> Ranges:
    """With a block of which every other byte of the bitmap is set."""
    path = directory / "disk"
    disk.convert(CONTENT, directory / "parent", "vhd-dynamic")
    with disk.open(directory / "parent") as parent:
        create_child(path, parent)
    data = path.read_bytes()
    at = len(data) - 512
    block = (b"\xf0\x00" * (BITMAP_SIZE // 2) + b"child" * 200).ljust(BITMAP_SIZE + 2 * MIB, b"\0")
    path.write_bytes(data[:at] + block + data[at:])
    _put(path, BAT_OFFSET, struct.pack(">I", at // 512))
    locators, paths = (512 + 40, 32 + 64), [(2048 + 512 * index, 64) for index in range(3)]
    return _vhd(path, *DYNAMIC_PLACES, locators, (512 + 576, 8 * 24), *paths, (at, 64))


def _first_bitmap(path: Path) -> int:
    (entry,) = struct.unpack_from(">I", path.read_bytes(), BAT_OFFSET)
    return int(entry) * 512


def _put(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


HEADERS = ((0, 16), (64 * KIB, 80), (128 * KIB, 80), (192 * KIB, 96), (256 * KIB, 96))
METADATA = ((2 * MIB, 32 + 6 * 32), (2 * MIB + 64 * KIB, 48))
BAT = 3 * MIB


def vhdx(directory: Path) -> Ranges:
    disk.convert(CONTENT, directory / "disk", "vhdx")
    return spans(*HEADERS, *METADATA, (BAT, 40))


def vhdx_fixed(directory: Path) -> Ranges:
    disk.convert(CONTENT, directory / "disk", "vhdx-fixed")
    return spans(*HEADERS, *METADATA, (BAT, 40))


def vhdx_qemu(directory: Path) -> Ranges:
    """QEMU's regions lie elsewhere: its log at 1, its BAT at 2 and its metadata at 3 MiB."""
    run(["qemu-img", "create", "-f", "vhdx", "-o", "block_size=1M", directory / "disk", str(SIZE)])
    run(["qemu-io", "-f", "vhdx", "-c", "write -P 1 3M 1k", directory / "disk"])
    regions = [(MIB * number, 224) for number in (2, 3)]
    return spans(*HEADERS, *regions, *((at + 64 * KIB, 48) for at, _ in regions), (MIB, 128))


def vhdx_child(directory: Path) -> Ranges:
    """With one block that is its own and one of which it has some sectors."""
    path = directory / "disk"
    disk.convert(CONTENT, directory / "parent", "vhdx")
    with disk.open(directory / "parent") as parent:
        create_child(path, parent)
    at = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(at + 3 * MIB)
    _put(path, at, b"own" * 100)
    _put(path, at + MIB, b"some" * 300)
    _put(path, at + 2 * MIB + 256, b"\x06\xf0")
    _put(path, BAT, struct.pack("<QQQ", at | 6, (at + MIB) | 7, 2))
    _put(path, BAT + 4096 * 8, struct.pack("<Q", (at + 2 * MIB) | 6))
    locator = (2 * MIB + 64 * KIB + 40, 420)
    return spans(*HEADERS, *METADATA, locator, (BAT, 40), (BAT + 4096 * 8, 8), (at + 2 * MIB + 256, 32))


def vhdx_log(directory: Path) -> Ranges:
    """With a log of three entries: zeros, data, and a BAT; the last one goes on at the log's start."""
    path = directory / "disk"
    disk.convert(CONTENT, path, "vhdx")
    size = path.stat().st_size
    table = path.read_bytes()[BAT : BAT + 4096]
    start = MIB - 5 * 4096
    first = log_entry(5, start, [(4 * MIB, b"L" * 4096), (4 * MIB + 8192, 4096)], size)
    second = log_entry(6, start, [(BAT, table)], size)
    third = log_entry(7, start, [(4 * MIB + 8192, b"M" * 4096), (4 * MIB, 8192)], size)
    places = [start, start + len(first), (start + len(first) + len(second)) % MIB]
    put_log(path, list(zip(places, (first, second, third), strict=True)))
    entries = [(MIB + at, 64 + 2 * 32) for at in places]
    sectors = [(MIB + at + more, 12) for at in places[:2] for more in (4096, 8180)]
    return spans(*HEADERS[1:], *METADATA[:1], (BAT, 40), *entries, *sectors)


def gpt(directory: Path) -> Ranges:
    part = NewPartition(LINUX_FILE_SYSTEM, "root", MIB, 0, UUID(int=1))
    made = build_gpt(SIZE, [part], UUID(int=2))
    disk.convert(MemoryDisk(SIZE, {0: made.head, made.tail_offset: made.tail}), directory / "disk", "raw")
    return spans((440, 72), (512, 92), (1024, 256), (made.tail_offset, 256), (SIZE - 512, 92))


def gpt_4096(directory: Path) -> Ranges:
    """A table made for sectors of 4096 bytes."""
    last = SIZE // SECTOR_4096 - 1
    disk.convert(MemoryDisk(SIZE, gpt_of_4096(SIZE, 16, last - 8)), directory / "disk", "raw")
    headers = [(at * SECTOR_4096, 92) for at in (1, last)]
    return spans((440, 72), *headers, *((at * SECTOR_4096, 256) for at in (2, last - 4)))


def mbr(directory: Path) -> Ranges:
    """A primary partition, and an extended one with two logical ones."""

    def sector(*entries: tuple[int, int, int]) -> bytes:
        packed = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
        return bytes(446) + packed.ljust(64, b"\0") + b"\x55\xaa"

    pieces = {
        0: sector((0x83, 64, 2000), (0x0F, 4096, 4096)),
        4096 * 512: sector((0x83, 8, 500), (0x05, 1000, 600)),
        5096 * 512: sector((0x83, 8, 500)),
    }
    disk.convert(MemoryDisk(SIZE, pieces), directory / "disk", "raw")
    return spans(*((at + 440, 72) for at in pieces))


def qcow2(directory: Path, *options: str) -> Ranges:
    path = directory / "disk"
    run(["qemu-img", "create", "-f", "qcow2", *options, path, str(SIZE)])
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 1 3M 1k", "-c", "write -P 2 512 512", path])
    data = path.read_bytes()
    (l1,) = struct.unpack_from(">Q", data, 40)
    l2 = struct.unpack_from(">Q", data, l1)[0] & 0x00FFFFFFFFFFFE00
    return spans((0, 112), (512, 64), (l1, 32), (l2, 64))


def qcow2_extended(directory: Path) -> Ranges:
    return qcow2(directory, "-o", "extended_l2=on,cluster_size=64k")


def qcow2_child(directory: Path) -> Ranges:
    (directory / "base").write_bytes(b"base" * 1024)
    ranges = qcow2(directory, "-o", f"backing_file={directory / 'base'},backing_fmt=raw")
    run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "base", "-F", "raw", directory / "disk"])
    return ranges


def vmdk(directory: Path) -> Ranges:
    path = directory / "disk"
    run(["qemu-img", "create", "-f", "vmdk", path, str(SIZE)])
    run(["qemu-io", "-f", "vmdk", "-c", "write -P 1 3M 1k", path])
    data = path.read_bytes()
    (grain_directory,) = struct.unpack_from("<Q", data, 56)
    (table,) = struct.unpack_from("<I", data, grain_directory * 512)
    return spans((0, 80), (512, 400), (grain_directory * 512, 16), (table * 512, 64))


def vmdk_stream(directory: Path) -> Ranges:
    disk.convert(CONTENT, directory / "plain", "raw")
    stream = ["-o", "subformat=streamOptimized"]
    run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", *stream, directory / "plain", directory / "disk"])
    (directory / "plain").unlink()
    return spans((0, 80), (512, 400))


def vmdk_text(directory: Path) -> Ranges:
    """A descriptor, and two extents beside it: flat and sparse."""
    vmdk(directory)
    (directory / "disk").rename(directory / "sparse.vmdk")
    (directory / "flat.vmdk").write_bytes(b"flat" * 1024)
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=12345678",
        "parentCID=ffffffff",
        'createType="custom"',
    ]
    lines += ['RW 8 FLAT "flat.vmdk" 0', 'RW 10240 SPARSE "sparse.vmdk"']
    text = "\n".join(lines).encode()
    (directory / "disk").write_bytes(text)
    return spans((21, len(text) - 21))


def vdi(directory: Path) -> Ranges:
    run(["qemu-img", "create", "-f", "vdi", directory / "disk", str(SIZE)])
    run(["qemu-io", "-f", "vdi", "-c", "write -P 1 3M 1k", directory / "disk"])
    return spans((64, 64), (336, 64))


# What makes a kind in a directory, as `disk` and what that refers to, and tells where its structures lie.
KINDS: dict[str, tuple[Callable[[Path], Ranges], Callable[[bytearray], None]]] = {
    "vhd-fixed": (vhd_fixed, seal_vhd),
    "vhd-dynamic": (vhd_dynamic, seal_vhd),
    "vhd-qemu": (vhd_qemu, seal_vhd),
    "vhd-child": (vhd_child, seal_vhd),
    "vhdx": (vhdx, seal_vhdx),
    "vhdx-fixed": (vhdx_fixed, seal_vhdx),
    "vhdx-qemu": (vhdx_qemu, seal_vhdx),
    "vhdx-child": (vhdx_child, seal_vhdx),
    "vhdx-log": (vhdx_log, seal_vhdx),
    "gpt": (gpt, seal_gpt),
    "gpt-4096": (gpt_4096, seal_gpt),
    "mbr": (mbr, leave),
    "qcow2": (qcow2, leave),
    "qcow2-extended": (qcow2_extended, leave),
    "qcow2-child": (qcow2_child, leave),
    "vmdk": (vmdk, leave),
    "vmdk-stream": (vmdk_stream, leave),
    "vmdk-text": (vmdk_text, leave),
    "vdi": (vdi, leave),
}
