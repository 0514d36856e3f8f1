"""Seeds: small valid files of every kind, and where their structures lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tests.unit.disk.vhdx_log import log_entry, put_log
from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.footer import checksum as vhd_checksum
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, NewPartition, build_gpt
from vmstamp.disk.vhdx import layout

KIB, MIB = 1024, 1024 * 1024
SIZE = 5 * MIB


@dataclass(frozen=True)
class Seed:
    """A file, the ranges of it that are mutated, and what makes its checksums right again."""

    path: Path
    ranges: tuple[tuple[int, int], ...]
    seal: Callable[[bytearray, int], None]  # of the file's bytes at the offset of a mutation


def seeds(directory: Path) -> Iterator[tuple[str, Seed]]:
    """One of each kind, made in `directory`."""
    content = MemoryDisk(SIZE, {0: b"\xa5" * 70_000, 3 * MIB: b"\x5a" * 70_000})
    for kind in ("vhd-fixed", "vhd-dynamic", "vhdx"):
        disk.convert(content, directory / kind, kind)
    for kind in ("vhd-dynamic", "vhdx"):
        with disk.open(directory / kind) as parent:
            create_child(directory / f"{kind}-child", parent)
    disk.convert(content, directory / "vhdx-log", "vhdx")
    size = (directory / "vhdx-log").stat().st_size
    writes: list[tuple[int, bytes | int]] = [(4 * MIB, b"L" * 4096), (4 * MIB + 8192, 4096)]
    put_log(directory / "vhdx-log", [(0, log_entry(5, 0, writes, size))])
    part = NewPartition(LINUX_FILE_SYSTEM, "root", MIB, 0, UUID(int=1))
    gpt = build_gpt(SIZE, [part], UUID(int=2))
    disk.convert(MemoryDisk(SIZE, {0: gpt.head, gpt.tail_offset: gpt.tail}), directory / "gpt", "raw")
    structures = ((0, 520), (64 * KIB, 80), (128 * KIB, 80), (192 * KIB, 96), (256 * KIB, 96))
    tables = ((2 * MIB, 256), (2 * MIB + 64 * KIB, KIB), (3 * MIB, 64))
    vhdx_ranges = tuple((at, at + length) for at, length in structures + tables)
    for kind in ("vhd-fixed", "vhd-dynamic", "vhd-dynamic-child"):
        end = (directory / kind).stat().st_size
        head = ((0, 2560),) if kind != "vhd-fixed" else ()
        yield kind, Seed(directory / kind, (*head, (end - 512, end)), seal_vhd)
    for kind in ("vhdx", "vhdx-child"):
        yield kind, Seed(directory / kind, vhdx_ranges, seal_vhdx)
    log_ranges = ((MIB, MIB + 160), (MIB + 4096, MIB + 4112), (64 * KIB, 64 * KIB + 80))
    yield "vhdx-log", Seed(directory / "vhdx-log", log_ranges, seal_vhdx)
    yield "gpt", Seed(directory / "gpt", ((440, 512), (512, 604), (1024, 1280), (SIZE - 512, SIZE)), leave)


def leave(data: bytearray, at: int) -> None:
    """A format whose checksums are survived."""


def seal_vhd(data: bytearray, at: int) -> None:
    """Set the checksum of the footer or header that `at` lies in."""
    for start, length, field in ((0, 512, 64), (512, 1024, 36), (len(data) - 512, 512, 64)):
        if start <= at < start + length:
            value = vhd_checksum(bytes(data[start : start + length]), field)
            data[start + field : start + field + 4] = value.to_bytes(4, "big")


def seal_vhdx(data: bytearray, at: int) -> None:
    """Set the checksum of the header, region table or log entry that `at` lies in."""
    entry = min(int.from_bytes(data[MIB + 8 : MIB + 12], "little"), MIB)
    spans = [(offset, 4 * KIB) for offset in layout.HEADER_OFFSETS]
    spans += [(offset, layout.REGION_SIZE) for offset in layout.REGION_OFFSETS]
    spans += [(MIB, entry)] if data[MIB : MIB + 4] == b"loge" else []
    for start, length in spans:
        if start <= at < start + length:
            value = layout.checksum(bytes(data[start : start + length]))
            data[start + 4 : start + 8] = value.to_bytes(4, "little")
