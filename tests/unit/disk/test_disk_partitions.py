"""MBR and GPT: what is built is read, and damage is survived and said."""

from __future__ import annotations

import struct
from uuid import UUID

import pytest

from vmstamp.disk import FixedVhd
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import (
    BIOS_BOOT,
    EFI_SYSTEM,
    LINUX_FILE_SYSTEM,
    NewPartition,
    build_gpt,
    read_partitions,
)
from vmstamp.disk.verdict import azure_findings
from vmstamp.errors import DiskError

MIB = 1024 * 1024
SIZE = 64 * MIB
GUIDS = [UUID(int=number) for number in range(1, 9)]
PARTS = [
    NewPartition(BIOS_BOOT, "bios", MIB, MIB, GUIDS[0]),
    NewPartition(EFI_SYSTEM, "esp", 2 * MIB, 16 * MIB, GUIDS[1]),
    NewPartition(LINUX_FILE_SYSTEM, "root, größer", 18 * MIB, 0, GUIDS[2]),
]


def gpt_disk(spoil: dict[int, bytes] | None = None) -> MemoryDisk:
    gpt = build_gpt(SIZE, PARTS, GUIDS[7], boot_code=b"\xeb\x63")
    head, tail = bytearray(gpt.head), bytearray(gpt.tail)
    for at, new in (spoil or {}).items():
        if at < len(head):
            head[at : at + len(new)] = new
        else:
            tail[at - gpt.tail_offset : at - gpt.tail_offset + len(new)] = new
    return MemoryDisk(SIZE, {0: bytes(head), gpt.tail_offset: bytes(tail)})


def test_a_built_gpt_is_read_back() -> None:
    table = read_partitions(gpt_disk())
    assert (table.scheme, table.disk_guid, table.notes, table.boot_code) == ("gpt", GUIDS[7], (), True)
    assert [(p.number, p.start, p.end, p.type_guid, p.name, p.unique_guid) for p in table.partitions] == [
        (1, MIB, 2 * MIB, BIOS_BOOT, "bios", GUIDS[0]),
        (2, 2 * MIB, 18 * MIB, EFI_SYSTEM, "esp", GUIDS[1]),
        (3, 18 * MIB, 63 * MIB, LINUX_FILE_SYSTEM, "root, größer", GUIDS[2]),
    ]


@pytest.mark.parametrize("at", [512, 512 + 20, 512 + 72, 1024 + 40, 1024 + 127])
def test_a_bad_primary_gpt_is_replaced_by_the_backup(at: int) -> None:
    table = read_partitions(gpt_disk({at: b"\xa5"}))
    assert len(table.partitions) == 3
    assert "the primary GPT is bad" in table.notes[0]


@pytest.mark.parametrize("at", [SIZE - 512, SIZE - 490, SIZE - 33 * 512])
def test_a_bad_backup_gpt_is_said(at: int) -> None:
    table = read_partitions(gpt_disk({at: b"\xa5"}))
    assert len(table.partitions) == 3
    assert "the backup GPT is bad" in table.notes[0]


def test_a_gpt_with_both_copies_bad_is_an_error() -> None:
    with pytest.raises(DiskError, match="neither of its copies is whole"):
        read_partitions(gpt_disk({512: b"X", SIZE - 512: b"X"}))


def test_a_truncated_gpt_disk_is_read_by_its_primary() -> None:
    whole = gpt_disk()
    table = read_partitions(MemoryDisk(SIZE - MIB, {0: whole.read(0, MIB)}))
    assert len(table.partitions) == 3
    assert "the backup GPT is bad" in table.notes[0]


def test_a_table_for_sectors_of_4096_bytes_is_said() -> None:
    small = gpt_disk()
    header = small.read(512, 512)
    # the same header at LBA 1 of a 4Kn disk; its entries at LBA 2
    disk = MemoryDisk(
        SIZE * 8, {0: small.read(0, 512), 4096: header.ljust(4096, b"\0"), 8192: small.read(1024, 16384)}
    )
    table = read_partitions(disk)
    assert table.sector_size == 4096
    assert table.partitions[0].start == 8 * MIB
    assert "disk-sector-512" in [finding.id for finding in azure_findings(disk)]


def mbr(*entries: tuple[int, int, int, int]) -> bytes:
    packed = b"".join(struct.pack("<B3xB3xII", *entry) for entry in entries)
    return b"\xfa" * 440 + bytes(6) + packed.ljust(64, b"\0") + b"\x55\xaa"


def test_an_mbr_with_logical_partitions_is_read() -> None:
    extended, second = 20 * MIB // 512, 10 * MIB // 512
    disk = MemoryDisk(
        SIZE,
        {
            0: mbr((0x80, 0x83, 2048, 16384), (0, 0x0F, extended, 40 * MIB // 512)),
            20 * MIB: mbr((0, 0x83, 2048, 2048), (0, 0x05, second, 4096)),
            30 * MIB: mbr((0, 0x82, 2048, 2048)),
        },
    )
    table = read_partitions(disk)
    assert (table.scheme, table.boot_code) == ("mbr", True)
    assert [(p.number, p.type_byte, p.start, p.active) for p in table.partitions] == [
        (1, 0x83, MIB, True),
        (2, 0x0F, 20 * MIB, False),
        (5, 0x83, 21 * MIB, False),
        (6, 0x82, 31 * MIB, False),
    ]


def test_a_loop_of_logical_partitions_ends() -> None:
    disk = MemoryDisk(
        SIZE,
        {
            0: mbr((0, 0x05, 2048, 4096)),
            MIB: mbr((0, 0x83, 1, 1), (0, 0x05, 4096, 1)),
            3 * MIB: mbr((0, 0x83, 1, 1), (0, 5, 4096, 1)),
        },
    )
    assert len(read_partitions(disk).partitions) == 3


def test_a_partition_behind_the_end_is_cut_and_said() -> None:
    table = read_partitions(MemoryDisk(SIZE, {0: mbr((0, 0x83, 2048, 10**6))}))
    assert table.partitions[0].end == SIZE
    assert "behind the disk's end" in table.notes[0]


@pytest.mark.parametrize("content", [b"", b"\xeb\x3c\x90mkfs.fat" + bytes(499) + b"\x55\xaa", b"\x01" * 512])
def test_a_disk_without_a_table_has_none(content: bytes) -> None:
    assert read_partitions(MemoryDisk(SIZE, {0: content})).scheme is None


def test_a_disk_smaller_than_a_sector_has_no_table() -> None:
    assert read_partitions(MemoryDisk(100, {})).scheme is None


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        (SIZE + 1, PARTS),
        (2 * MIB, []),
        (SIZE, [NewPartition(EFI_SYSTEM, "a", 512, MIB, GUIDS[0])]),
        (SIZE, [NewPartition(EFI_SYSTEM, "a", MIB, SIZE, GUIDS[0])]),
        (
            SIZE,
            [
                NewPartition(EFI_SYSTEM, "a", MIB, 2 * MIB, GUIDS[0]),
                NewPartition(EFI_SYSTEM, "b", MIB, MIB, GUIDS[1]),
            ],
        ),
    ],
)
def test_partitions_that_do_not_fit_are_refused(size: int, parts: list[NewPartition]) -> None:
    with pytest.raises(ValueError, match=r"does not fit|whole number"):
        build_gpt(size, parts, GUIDS[7])


def test_a_gpt_left_over_under_an_mbr_does_not_count() -> None:
    old, new = gpt_disk().pieces, mbr((0x80, 0x83, 2048, 16384))
    disk = MemoryDisk(SIZE, {at: piece if at else new + piece[512:] for at, piece in old.items()})
    assert read_partitions(disk).scheme == "mbr"


def test_a_gpt_without_a_protective_mbr_is_read_and_said() -> None:
    table = read_partitions(gpt_disk({0: bytes(512)}))
    assert (table.scheme, len(table.partitions)) == ("gpt", 3)
    assert "no protective MBR" in table.notes[0]


def test_the_footer_of_a_fixed_vhd_view_is_not_part_of_the_disk() -> None:
    assert read_partitions(FixedVhd(gpt_disk())) == read_partitions(gpt_disk())
