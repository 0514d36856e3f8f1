"""The log of VHDX files: what is replayed, what is refused, and what that costs."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from uuid import UUID

import pytest
from google_crc32c import value as crc32c

from tests.unit.disk.vhdx_log import GUID, LOG_LENGTH, LOG_OFFSET, Write, log_entry, put_log
from vmstamp.disk.file import ImageFile, replacing
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhdx import Vhdx, write_dynamic
from vmstamp.disk.vhdx.check import repair_vhdx
from vmstamp.disk.vhdx.layout import MIB
from vmstamp.disk.vhdx.log import Log, Patch, ReplayedFile, active_sequence, flatten
from vmstamp.errors import DiskError

FIRST_BLOCK = 4 * MIB  # where our writer puts the first block of data
SECTOR = 4096
A, B = b"A" * SECTOR, b"B" * SECTOR

# An entry of one zero and one data descriptor, written by hand from the tables of 2.3.1.
GOLDEN = (
    (
        b"loge"
        + bytes.fromhex("000000000020000000100000")  # checksum, entry length, tail
        + bytes.fromhex("05000000010000000200000000000000")  # sequence number, descriptor count, reserved
        + GUID.bytes_le
        + bytes.fromhex("00005000000000000000600000000000")  # flushed and last file offset: 5 and 6 MiB
        + b"zero"
        + bytes.fromhex("00000000002000000000000000004000000000000500000001000000")
        + b"desc"
        + bytes.fromhex("5a5a5a5a414141414141414100104000000000000500000001000000")
    ).ljust(SECTOR, b"\0")
    + b"data\x01\0\0\0"
    + b"m" * 4084
    + b"\x05\0\0\0"
)
GOLDEN_CHECKSUM = bytes.fromhex("b6826ce5")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_dynamic(MemoryDisk(9 * MIB, {0: b"a" * MIB, 5 * MIB: b"b" * MIB}), tmp_path / "disk.vhdx")
    return tmp_path / "disk.vhdx"


def start_of(path: Path, writes: Sequence[Write], sequence: int = 1) -> bytes:
    """An entry that begins a sequence at the log's start."""
    return log_entry(sequence, 0, writes, path.stat().st_size)


def first_block(path: Path, length: int = 4 * SECTOR) -> bytes:
    with Vhdx(ImageFile(path)) as disk:
        return disk.read(0, length)


def refused(path: Path) -> DiskError:
    file = ImageFile(path)
    try:
        with pytest.raises(DiskError) as caught:
            Vhdx(file)
    finally:
        file.close()
    return caught.value


def test_an_entry_is_read_as_the_specification_lays_it_out(path: Path) -> None:
    entry = GOLDEN[:4] + GOLDEN_CHECKSUM + GOLDEN[8:]
    put_log(path, [(SECTOR, entry)])
    with Vhdx(ImageFile(path)) as disk:
        assert disk.notes == ("it was not closed properly: its log was replayed in memory",)
        assert disk.read(0, 4 * SECTOR) == (
            bytes(SECTOR) + b"A" * 8 + b"m" * 4084 + b"ZZZZ" + b"a" * 2 * SECTOR
        )


def test_a_later_entry_counts(path: Path) -> None:
    first = start_of(path, [(FIRST_BLOCK, A), (FIRST_BLOCK + SECTOR, A)])
    put_log(path, [(0, first), (len(first), start_of(path, [(FIRST_BLOCK, B)], 2))])
    assert first_block(path) == B + A + b"a" * 2 * SECTOR


def test_entries_before_the_tail_are_not_replayed(path: Path) -> None:
    flushed = start_of(path, [(FIRST_BLOCK, A)])
    put_log(
        path,
        [
            (0, flushed),
            (len(flushed), log_entry(2, len(flushed), [(FIRST_BLOCK + SECTOR, B)], path.stat().st_size)),
        ],
    )
    assert first_block(path) == b"a" * SECTOR + B + b"a" * 2 * SECTOR


def test_an_entry_goes_around_the_end_of_the_log(path: Path) -> None:
    at = LOG_LENGTH - SECTOR
    put_log(path, [(at, log_entry(1, at, [(FIRST_BLOCK, A), (FIRST_BLOCK + SECTOR, B)], 5 * MIB))])
    assert first_block(path) == A + B + b"a" * 2 * SECTOR


def test_a_torn_last_entry_does_not_count(path: Path) -> None:
    first = start_of(path, [(FIRST_BLOCK, A)])
    torn = bytearray(start_of(path, [(FIRST_BLOCK, B)], 2))
    torn[-1] ^= 1
    put_log(path, [(0, first), (len(first), bytes(torn))])
    assert first_block(path, SECTOR) == A


def test_of_two_sequences_the_newer_counts(path: Path) -> None:
    at = 64 * SECTOR
    new = log_entry(9, at, [(FIRST_BLOCK, B)], path.stat().st_size)
    put_log(path, [(0, start_of(path, [(FIRST_BLOCK, A)])), (at, new)])
    assert first_block(path, SECTOR) == B


def test_an_entry_of_another_log_does_not_count(path: Path) -> None:
    other = log_entry(9, 64 * SECTOR, [(FIRST_BLOCK, B)], 5 * MIB, guid=UUID(int=1))
    put_log(path, [(0, start_of(path, [(FIRST_BLOCK, A)])), (64 * SECTOR, other)])
    assert first_block(path, SECTOR) == A


def test_the_file_reads_as_zeros_from_its_end_to_the_last_file_offset(path: Path) -> None:
    size = path.stat().st_size
    entry = bytearray(log_entry(1, 0, [(FIRST_BLOCK, A)], size))
    entry[56:64] = struct.pack("<Q", size + 2 * MIB)
    put_log(path, [(0, sealed(entry))])
    file = ImageFile(path)
    with Vhdx(file):
        replayed = ReplayedFile(file, Log(file, LOG_OFFSET, LOG_LENGTH, GUID))
        assert replayed.size == size + 2 * MIB
        assert replayed.read(size - 1, MIB) == b"b" + bytes(MIB - 1)
        assert [end for _, end in replayed.extents(0, replayed.size)][-1] == size


def sealed(entry: bytearray) -> bytes:
    entry[4:8] = bytes(4)
    entry[4:8] = struct.pack("<I", crc32c(bytes(entry)))
    return bytes(entry)


@pytest.mark.parametrize(
    ("at", "value", "offset", "spec", "message"),
    [
        (64, b"what", 64, "2.3.1.2", "not as specified"),  # a descriptor's signature
        (64 + 16, b"\x01", 64, "2.3.1.2", "not as specified"),  # its offset
        (64 + 24, b"\x07", 64, "2.3.1.2", "not as specified"),  # its sequence number
        (SECTOR, b"dat!", SECTOR, "2.3.1.4", "torn"),
        (SECTOR + 4, b"\x07", SECTOR, "2.3.1.4", "torn"),  # the sequence number's upper half
        (2 * SECTOR - 4, b"\x07", SECTOR, "2.3.1.4", "torn"),  # its lower half
    ],
)
def test_an_entry_with_a_right_checksum_but_wrong_content_is_refused(
    path: Path, at: int, value: bytes, offset: int, spec: str, message: str
) -> None:
    entry = bytearray(start_of(path, [(FIRST_BLOCK, A)]))
    entry[at : at + len(value)] = value
    put_log(path, [(0, sealed(entry))])
    error = refused(path)
    assert message in error.found
    assert (error.offset, error.spec) == (LOG_OFFSET + offset, f"[MS-VHDX] {spec}")


def test_a_descriptor_without_a_data_sector_is_refused(path: Path) -> None:
    entry = bytearray(start_of(path, [(FIRST_BLOCK, A)])[:SECTOR])
    entry[8:12] = struct.pack("<I", SECTOR)
    put_log(path, [(0, sealed(entry))])
    assert "has no data sector" in refused(path).found


def set_log(path: Path, offset: int, length: int) -> None:
    """Let both headers say that the log lies there."""
    with path.open("r+b") as file:
        for at in (64 * 1024, 128 * 1024):
            file.seek(at)
            header = bytearray(file.read(SECTOR))
            header[68:80] = struct.pack("<IQ", length, offset)
            file.seek(at)
            file.write(sealed(header))


@pytest.mark.parametrize(
    ("offset", "length"), [(MIB + 1, MIB), (MIB, MIB + 4096), (MIB, 0), (0, MIB), (4 * MIB, 64 * MIB)]
)
def test_a_log_that_is_not_inside_the_file_is_refused(path: Path, offset: int, length: int) -> None:
    put_log(path, [(0, start_of(path, [(FIRST_BLOCK, A)]))])
    set_log(path, offset, length)
    assert "not inside the file in whole MiB" in refused(path).found


def test_a_log_of_gigabytes_costs_what_is_stored_of_it(path: Path) -> None:
    length = 4095 * MIB
    with path.open("r+b") as file:
        file.truncate(8192 * MIB)
        for index in range(64):  # each claims all of the log
            file.seek(1024 * MIB + index * SECTOR)
            head = struct.pack("<4sIIIQII16sQQ", b"loge", 0, length, 0, 5 + index, 0, 0, GUID.bytes_le, 0, 0)
            file.write(head)
    put_log(path, [])
    set_log(path, 1024 * MIB, length)
    file_opened = CountingFile(path)
    with pytest.raises(DiskError, match="entries in entries"):
        Vhdx(file_opened)
    file_opened.close()
    assert file_opened.bytes_read < 16 * MIB


class CountingFile(ImageFile):
    bytes_read = 0

    def read(self, offset: int, length: int, *, what: str = "data", spec: str = "") -> bytes:
        self.bytes_read += length
        return super().read(offset, length, what=what, spec=spec)


def test_zeros_of_a_claimed_length_are_not_written_by_repair(path: Path, tmp_path: Path) -> None:
    entry = bytearray(log_entry(1, 0, [(FIRST_BLOCK, 1 << 40)], path.stat().st_size))
    entry[56:64] = struct.pack("<Q", 1 << 40)
    put_log(path, [(0, sealed(entry))])
    file = ImageFile(path)
    with replacing(tmp_path / "mended") as fd:
        repair_vhdx(file, fd)
    file.close()
    status = (tmp_path / "mended").stat()
    assert status.st_size == 1 << 40
    assert status.st_blocks * 512 < 4 * MIB


def test_the_active_sequence_begins_at_its_tail(path: Path) -> None:
    at, entries = LOG_LENGTH - 3 * SECTOR, []
    for sequence in range(10, 15):
        entry = log_entry(sequence, LOG_LENGTH - SECTOR, [(FIRST_BLOCK, A)], path.stat().st_size)
        entries.append((at % LOG_LENGTH, entry))
        at += len(entry)
    put_log(path, entries)
    file = ImageFile(path)
    found = active_sequence(Log(file, LOG_OFFSET, LOG_LENGTH, GUID))
    file.close()
    assert [entry.sequence_number for entry in found] == [11, 12, 13, 14]


@pytest.mark.parametrize("seed", range(20))
def test_of_overlapping_patches_the_last_counts(seed: int) -> None:
    random = Random(seed)
    patches: list[Patch] = []
    expected: list[int | None] = [None] * 40
    for number in range(random.randrange(1, 30)):
        start = random.randrange(40)
        length = random.choice((1, random.randrange(0, 40 - start + 1)))
        data = number if length == 1 else None
        patches.append(Patch(start * SECTOR, (start + length) * SECTOR, data))
        expected[start : start + length] = [(number if data is not None else -1) for _ in range(length)]
    found: list[int | None] = [None] * 40
    pieces = flatten(patches)
    for piece in pieces:
        for at in range(piece.start // SECTOR, piece.end // SECTOR):
            assert found[at] is None
            found[at] = -1 if piece.log_offset is None else piece.log_offset
    assert found == expected
    assert [piece.start for piece in pieces] == sorted(piece.start for piece in pieces)
