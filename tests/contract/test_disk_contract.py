"""One suite over every Disk: the contract at the top of vmstamp.disk.base."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vmstamp import disk
from vmstamp.disk import Disk, FixedVhd, vhdx
from vmstamp.disk.memory import MemoryDisk
from vmstamp.run import run

MIB = 1024 * 1024
SIZE = 9 * MIB + 512 * 5
MOST_EXTENTS = 6 * MIB  # bytes; the data is 0.6 MiB, in blocks of up to 2 MiB

# name: format and subformat that open() must tell, options of qemu-img (None: we write it)
KINDS: dict[str, tuple[str, str, list[str] | None]] = {
    "memory": ("raw", "", None),
    "raw": ("raw", "", None),
    "fixed-vhd-view": ("vhd", "fixed", None),
    "vhd-fixed": ("vhd", "fixed", None),
    "vhd-dynamic": ("vhd", "dynamic", None),
    "vhdx": ("vhdx", "dynamic", None),
    "vhdx-fixed": ("vhdx", "fixed", None),
    "vhdx-dynamic-32m": ("vhdx", "dynamic", None),
    "qemu-vhd-fixed": ("vhd", "fixed", ["-O", "vpc", "-o", "subformat=fixed,force_size=on"]),
    "qemu-vhd-dynamic": ("vhd", "dynamic", ["-O", "vpc", "-o", "force_size=on"]),
    "qemu-vhdx-dynamic": ("vhdx", "dynamic", ["-O", "vhdx", "-o", "block_size=1M"]),
    "qemu-vhdx-fixed": ("vhdx", "fixed", ["-O", "vhdx", "-o", "subformat=fixed,block_size=1M"]),
    "written-qcow2": ("qcow2", "dynamic", None),
    "written-vmdk": ("vmdk", "dynamic", None),
    "qcow2": ("qcow2", "dynamic", ["-O", "qcow2"]),
    "qcow2-compressed": ("qcow2", "dynamic", ["-c", "-O", "qcow2"]),
    "vmdk": ("vmdk", "dynamic", ["-O", "vmdk"]),
    "vmdk-flat": ("vmdk", "fixed", ["-O", "vmdk", "-o", "subformat=monolithicFlat"]),
    "vmdk-stream": ("vmdk", "dynamic", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
    "vdi": ("vdi", "dynamic", ["-O", "vdi"]),
    "vdi-fixed": ("vdi", "fixed", ["-O", "vdi", "-o", "static=on"]),
}


@dataclass
class Case:
    """An open disk and the bytes that it must hold."""

    disk: Disk
    content: bytes


def source() -> MemoryDisk:
    rng = random.Random(7)
    pieces = {at: rng.randbytes(rng.randrange(1, 70_000)) for at in range(100_000, 4_000_000, 300_001)}
    return MemoryDisk(SIZE, {0: b"start", **pieces, SIZE - 3: b"end"})


@pytest.fixture(scope="module", params=list(KINDS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    kind: str = request.param
    format, subformat, options = KINDS[kind]
    opened = make(kind, options, tmp_path_factory.mktemp(kind))
    with opened:
        assert (opened.format, opened.subformat) == (format, subformat)
        content = source().read(0, SIZE).ljust(opened.size, b"\0")
        if isinstance(opened, FixedVhd):
            content = content[:-512] + opened.footer
        yield Case(opened, content)


def make(kind: str, options: list[str] | None, directory: Path) -> Disk:
    path = directory / "disk"
    if kind == "memory":
        return source()
    if kind == "fixed-vhd-view":
        return FixedVhd(source(), unique_id=UUID(int=1), created=datetime(2024, 1, 1, tzinfo=UTC))
    if kind == "vhdx-dynamic-32m":
        vhdx.write_dynamic(source(), path, block_size=32 * MIB)
    elif options is None:
        disk.convert(source(), path, kind.removeprefix("written-"))
    else:
        disk.convert(source(), directory / "source.raw", "raw")
        run(["qemu-img", "convert", "-f", "raw", *options, directory / "source.raw", path])
    return disk.open(path)


def spans(size: int, count: int) -> list[tuple[int, int]]:
    """Spans anywhere, across every boundary: of sectors, bitmaps and blocks."""
    rng = random.Random(11)
    edges = [edge for unit in (512, 65536, MIB, 2 * MIB) for edge in range(unit, size, max(unit, size // 9))]
    around = [(edge - 7, 20) for edge in edges if edge + 13 <= size]
    anywhere = [(rng.randrange(size), rng.choice([1, 511, 4096, 300_000, 3 * MIB])) for _ in range(count)]
    return [*around, *((at, min(length, size - at)) for at, length in anywhere)]


def test_the_whole_disk_reads_as_it_was_written(case: Case) -> None:
    assert case.disk.read(0, case.disk.size) == case.content


def test_every_span_reads_as_a_part_of_the_whole(case: Case) -> None:
    for offset, length in spans(case.disk.size, 60):
        assert case.disk.read(offset, length) == case.content[offset : offset + length], (offset, length)


def test_eight_threads_read_one_disk(case: Case) -> None:
    def read(span: tuple[int, int]) -> bool:
        offset, length = span
        return case.disk.read(offset, length) == case.content[offset : offset + length]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, spans(case.disk.size, 150)))


def test_extents_are_ascending_disjoint_and_inside(case: Case) -> None:
    end = -1
    for extent in case.disk.extents():
        assert end < extent.start < extent.end <= case.disk.size
        end = extent.end


def test_outside_of_the_extents_there_are_only_zeros(case: Case) -> None:
    rebuilt = bytearray(case.disk.size)
    for start, end in case.disk.extents():
        rebuilt[start:end] = case.content[start:end]
    assert bytes(rebuilt) == case.content


def test_holes_are_left_out(case: Case) -> None:
    assert sum(extent.length for extent in case.disk.extents()) < MOST_EXTENTS


def test_extents_can_be_taken_twice_and_read_in_between(case: Case) -> None:
    first = list(case.disk.extents())
    for extent, again in zip(case.disk.extents(), first, strict=True):
        case.disk.read(extent.start, 1)
        assert extent == again


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (0, 10**12), (10**12, 0)])
def test_a_span_outside_is_refused(case: Case, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="is not inside"):
        case.disk.read(offset, length)


def test_nothing_at_the_end_is_nothing(case: Case) -> None:
    assert case.disk.read(case.disk.size, 0) == b""
    with pytest.raises(ValueError, match="is not inside"):
        case.disk.read(case.disk.size, 1)


def test_closing_twice_is_allowed(case: Case, tmp_path: Path) -> None:
    twin = tmp_path / "twin.vhdx"
    disk.convert(case.disk, twin, "vhdx")
    opened = disk.open(twin)
    opened.close()
    opened.close()
