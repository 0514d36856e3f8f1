"""A VHDX whose log was not replayed: read as it is by us, and after QEMU's repair by QEMU."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.disk.vhdx_log import LOG_LENGTH, MIB, Write, log_entry, put_log
from vmstamp import disk
from vmstamp.disk import vhdx
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError
from vmstamp.run import run

SIZE = 20 * MIB
FIRST_BLOCK = 4 * MIB  # where our writer puts the first block of data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    vhdx.write_dynamic(MemoryDisk(SIZE, {0: b"a" * MIB, 5 * MIB: b"b" * MIB}), tmp_path / "disk.vhdx")
    return tmp_path / "disk.vhdx"


def sector(letter: bytes) -> bytes:
    return b"<" + letter * 4094 + b">"


def after_repair(path: Path) -> bytes:
    """What QEMU reads from a copy that it repaired."""
    copy, plain = path.with_name("copy.vhdx"), path.with_name("plain")
    shutil.copy(path, copy)
    run(["qemu-img", "check", "-r", "all", "-f", "vhdx", copy])
    run(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", copy, plain])
    return plain.read_bytes()


def chain(path: Path, start: int, groups: list[list[Write]], *, tail: int | None = None) -> None:
    """Entries one behind the other from `start` of the log on."""
    at, entries = start, []
    for number, writes in enumerate(groups):
        entry = log_entry(100 + number, start if tail is None else tail, writes, path.stat().st_size)
        entries.append((at % LOG_LENGTH, entry))
        at += len(entry)
    put_log(path, entries)


@pytest.mark.parametrize("start", [0, 4096, LOG_LENGTH - 4096, LOG_LENGTH - 3 * 4096])
def test_a_log_is_replayed_in_memory_as_qemu_replays_it(path: Path, start: int) -> None:
    chain(
        path,
        start,
        [
            [(FIRST_BLOCK, sector(b"1")), (FIRST_BLOCK + 8192, sector(b"2"))],
            [(FIRST_BLOCK, sector(b"3")), (FIRST_BLOCK + 8192, 16384), (FIRST_BLOCK + MIB, sector(b"4"))],
            [(FIRST_BLOCK + 12288, sector(b"5"))],
        ],
    )
    before = path.read_bytes()
    with disk.open(path) as opened:
        ours = opened.read(0, SIZE)
        rebuilt = bytearray(SIZE)
        for low, high in opened.extents():
            rebuilt[low:high] = opened.read(low, high - low)
        assert "log was replayed" in opened.notes[0]
    assert path.read_bytes() == before
    assert ours[:4096] == sector(b"3")
    assert ours[8192:12288] == bytes(4096)
    assert ours[12288:16384] == sector(b"5")
    assert ours[5 * MIB : 5 * MIB + 4096] == sector(b"4")
    assert ours == rebuilt == after_repair(path)


def test_a_torn_last_entry_and_an_older_sequence_do_not_count(path: Path) -> None:
    size = path.stat().st_size
    old = log_entry(7, 64 * 4096, [(FIRST_BLOCK, sector(b"o"))], size)
    good = log_entry(100, 0, [(FIRST_BLOCK, sector(b"g"))], size)
    torn = bytearray(log_entry(101, 0, [(FIRST_BLOCK, sector(b"t"))], size))
    torn[5000] ^= 1
    put_log(path, [(64 * 4096, old), (0, good), (len(good), bytes(torn))])
    with disk.open(path) as opened:
        assert opened.read(0, 4096) == sector(b"g")
        assert opened.read(0, SIZE) == after_repair(path)


def test_a_bat_in_the_log_counts(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(3 * MIB)  # the BAT
        table = file.read(4096)
        size = file.seek(0, 2)
        file.truncate(size + MIB)
        file.seek(size)
        file.write(b"n" * MIB)
    entry = (size | 6).to_bytes(8, "little")  # PAYLOAD_BLOCK_FULLY_PRESENT
    chain(path, 0, [[(3 * MIB, table[:72] + entry + table[80:])]])
    with disk.open(path) as opened:
        assert opened.read(9 * MIB, MIB) == b"n" * MIB
        assert opened.read(0, SIZE) == after_repair(path)


def test_a_file_cut_behind_its_log_is_refused(path: Path) -> None:
    put_log(path, [(0, log_entry(1, 0, [(FIRST_BLOCK, sector(b"x"))], path.stat().st_size + MIB))])
    with pytest.raises(DiskError, match="its log says that it had") as caught:
        disk.open(path)
    assert "2.3.1.1" in caught.value.spec


def test_a_log_of_damaged_entries_only_is_refused(path: Path) -> None:
    entry = bytearray(log_entry(1, 0, [(FIRST_BLOCK, sector(b"x"))], path.stat().st_size))
    entry[100] ^= 1
    put_log(path, [(0, bytes(entry))])
    with pytest.raises(DiskError, match="no valid sequence") as caught:
        disk.open(path)
    assert (caught.value.offset, caught.value.spec) == (MIB, "[MS-VHDX] 2.3.3")
