"""A damaged GPT is made whole, and nothing else is written."""

from __future__ import annotations

from uuid import UUID

import pytest

from vmstamp.disk.base import Disk
from vmstamp.disk.gpt_repair import mended_gpt
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import (
    EFI_SYSTEM,
    LINUX_FILE_SYSTEM,
    NewPartition,
    build_gpt,
    read_partitions,
)
from vmstamp.disk.resized import Changed

MIB = 1024 * 1024
SIZE = 64 * MIB
PARTS = [
    NewPartition(EFI_SYSTEM, "esp", MIB, 16 * MIB, UUID(int=1)),
    NewPartition(LINUX_FILE_SYSTEM, "root", 17 * MIB, 0, UUID(int=2)),
]
GPT = build_gpt(SIZE, PARTS, UUID(int=7), boot_code=b"\xeb\x63")
BACKUP_HEADER = SIZE - 512


def disk(*pieces: tuple[int, bytes], size: int = SIZE) -> MemoryDisk:
    """A disk with GPT as it was built for SIZE bytes, and the pieces over it."""
    found = bytearray(GPT.head.ljust(SIZE - len(GPT.tail), b"\0") + GPT.tail)
    for at, data in pieces:
        found[at : at + len(data)] = data
    held = bytes(found[:size])
    return MemoryDisk(size, {0: held[:MIB], len(held) - MIB: held[-MIB:]})


def after(broken: MemoryDisk) -> Disk:
    mends = mended_gpt(broken)
    assert mends
    return Changed(broken, broken.size, mends)


def test_a_whole_gpt_needs_nothing() -> None:
    assert mended_gpt(disk()) == {}


@pytest.mark.parametrize(
    "spoiled",
    [
        pytest.param([(512, b"X")], id="primary header"),
        pytest.param([(1024 + 40, b"\xa5")], id="primary entries"),
        pytest.param([(512, bytes(33 * 512))], id="primary gone"),
        pytest.param([(BACKUP_HEADER, b"X")], id="backup header"),
        pytest.param([(BACKUP_HEADER - 32 * 512, b"\xa5")], id="backup entries"),
        pytest.param([(446, bytes(66))], id="protective MBR"),
        pytest.param([(446, bytes(66)), (BACKUP_HEADER, bytes(512))], id="MBR and backup"),
    ],
)
def test_a_damaged_copy_is_made_of_the_other(spoiled: list[tuple[int, bytes]]) -> None:
    mended = after(disk(*spoiled))
    table, whole = read_partitions(mended), read_partitions(disk())
    assert table.notes == ()
    assert (table.partitions, table.disk_guid) == (whole.partitions, whole.disk_guid)
    assert mended.read(0, MIB) == disk().read(0, MIB)
    assert mended.read(SIZE - MIB, MIB) == disk().read(SIZE - MIB, MIB)


def test_the_backup_moves_to_the_end_of_a_grown_disk() -> None:
    grown = MemoryDisk(SIZE + 5 * MIB, disk().pieces)
    assert read_partitions(grown).notes
    mended = after(grown)
    assert read_partitions(mended).notes == ()


def test_copies_that_differ_are_said_and_the_primary_stays() -> None:
    other = build_gpt(SIZE, PARTS, UUID(int=8))
    differing = disk((other.tail_offset, other.tail))
    assert read_partitions(differing).notes == ("the copies of the GPT differ; the primary was used",)
    table = read_partitions(after(differing))
    assert (table.notes, table.disk_guid) == ((), UUID(int=7))


def test_a_disk_that_was_cut_inside_a_partition_is_left_alone() -> None:
    cut = disk(size=SIZE - 2 * MIB)
    assert read_partitions(cut).notes
    assert mended_gpt(cut) == {}


def test_a_disk_without_a_gpt_is_left_alone() -> None:
    assert mended_gpt(MemoryDisk(SIZE, {})) == {}
