"""Writers: sparse, whole or not at all; FixedVhd: bytes by position; data in pieces."""

from __future__ import annotations

import errno
import random
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp import disk
from vmstamp.disk import FixedVhd, convert, vhdx
from vmstamp.disk.data import data_chunks, nonzero
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, NewPartition, build_gpt, read_partitions
from vmstamp.errors import DiskError
from vmstamp.extents import Extent

MIB = 1024 * 1024
ID, NOON = UUID(int=5), datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def memory_disk() -> MemoryDisk:
    rng = random.Random(1)
    pieces = {at: rng.randbytes(rng.randrange(1, 70_000)) for at in range(100_000, 5_000_000, 400_001)}
    return MemoryDisk(5 * MIB + 1536, {0: b"start", **pieces, 5 * MIB + 1533: b"end"})


@pytest.mark.parametrize("to", ["raw", "vhd-fixed", "vhdx"])
def test_what_is_written_reads_the_same_and_stays_sparse(
    tmp_path: Path, memory_disk: MemoryDisk, to: str
) -> None:
    path = tmp_path / "out"
    moved: list[int] = []
    convert(memory_disk, path, to, moved.append)
    with disk.open(path) as opened:
        assert opened.read(0, memory_disk.size) == memory_disk.read(0, memory_disk.size)
        assert not any(opened.read(memory_disk.size, opened.size - memory_disk.size))
    data = sum(extent.length for extent in memory_disk.extents())
    assert sum(moved) >= data
    assert path.stat().st_blocks * 512 < 3 * data + 3 * MIB
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_runs_of_zeros_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "out.raw"
    convert(MemoryDisk(64 * MIB, {MIB: bytes(40 * MIB) + b"x"}), path, "raw")
    assert path.stat().st_blocks * 512 <= 64 * 1024


def test_a_failed_write_leaves_the_old_file_and_nothing_beside(
    tmp_path: Path, memory_disk: MemoryDisk
) -> None:
    path = tmp_path / "out.vhdx"
    path.write_bytes(b"old")

    def stop(length: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(memory_disk, path, "vhdx", stop)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.vhdx"]


def test_a_disk_is_not_converted_onto_itself(tmp_path: Path) -> None:
    raw_file = tmp_path / "disk.raw"
    raw_file.write_bytes(bytes(1024))
    with disk.open(raw_file) as source, pytest.raises(DiskError, match="is the source itself"):
        convert(source, raw_file, "vhdx")


def test_an_unknown_format_is_refused_by_name(tmp_path: Path, memory_disk: MemoryDisk) -> None:
    with pytest.raises(DiskError, match="cannot be written as vdi") as caught:
        convert(memory_disk, tmp_path / "x", "vdi")
    assert "vhd-fixed" in caught.value.hint


def test_a_directory_that_is_not_there_is_our_error(tmp_path: Path, memory_disk: MemoryDisk) -> None:
    with pytest.raises(DiskError, match="cannot be written"):
        convert(memory_disk, tmp_path / "no" / "x.vhdx", "vhdx")


@pytest.mark.parametrize(
    ("size", "block_size"),
    [
        (1, MIB),
        (128 * 1024 * MIB, MIB),
        (129 * 1024 * MIB, 2 * MIB),
        (4 * 1024**4, 32 * MIB),
        (64 * 1024**4, 32 * MIB),
    ],
)
def test_the_block_size_grows_with_the_disk(size: int, block_size: int) -> None:
    assert vhdx.choose_block_size(size) == block_size


def test_a_vhdx_with_more_than_one_chunk_skips_the_sector_bitmap_entries(tmp_path: Path) -> None:
    size = 13 * 1024 * MIB  # chunks are 4096 blocks of 1 MiB
    pieces = {
        block * MIB: bytes([1 + block % 250]) * 10
        for block in (0, 4095, 4096, 4097, 8191, 8192, 12287, 12288)
    }
    source = MemoryDisk(size, pieces)
    vhdx.write_dynamic(source, tmp_path / "a.vhdx")
    with disk.open(tmp_path / "a.vhdx") as opened:
        for at, piece in pieces.items():
            assert opened.read(at, 10) == piece
        assert [extent.start for extent in opened.extents()] == list(pieces)
        assert opened.read(4095 * MIB, 3 * MIB) == source.read(4095 * MIB, 3 * MIB)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_fixed_vhd_reads_as_data_padding_and_footer(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 3 * MIB))
    at = data.draw(st.integers(0, size - 1))
    source = MemoryDisk(size, {at: b"\x11" * min(2000, size - at)})
    view = FixedVhd(source, unique_id=ID, created=NOON)
    whole = source.read(0, size).ljust(view.data_size, b"\0") + view.footer
    offset = data.draw(st.integers(0, view.size))
    length = data.draw(st.integers(0, view.size - offset))
    assert view.data_size % MIB == 0
    assert view.size == view.data_size + 512 == len(whole)
    assert view.read(offset, length) == whole[offset : offset + length]
    assert list(view.extents())[-1] == Extent(view.data_size, view.size)


def test_padding_moves_the_backup_gpt_to_the_end() -> None:
    gpt = build_gpt(8 * MIB, [NewPartition(LINUX_FILE_SYSTEM, "root", MIB, 0, uuid4())], uuid4())
    odd = MemoryDisk(8 * MIB + 512, {0: gpt.head, gpt.tail_offset: gpt.tail})
    before = read_partitions(odd)
    assert "not in the last one" in before.notes[0]
    view = FixedVhd(odd)
    after = read_partitions(MemoryDisk(view.data_size, {0: view.read(0, view.data_size)}))
    assert after.notes == ()
    assert after.partitions == before.partitions
    covered = list(view.extents())
    assert any(extent.start <= view.data_size - 512 < extent.end for extent in covered)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=8), st.sampled_from([1, 7, 64]))
def test_nonzero_leaves_out_only_zeros(runs: list[tuple[bool, int]], grain: int) -> None:
    data = b"".join((b"\x01" if full else b"\0") * length for full, length in runs)
    kept = list(nonzero(data, 1000, grain))
    rebuilt = bytearray(len(data))
    for start, end in kept:
        rebuilt[start - 1000 : end - 1000] = data[start - 1000 : end - 1000]
    assert bytes(rebuilt) == data
    assert all(any(data[start - 1000 : end - 1000]) for start, end in kept)


def test_data_chunks_reads_only_extents_and_tells_what_it_read() -> None:
    class Counting(MemoryDisk):
        read_bytes = 0

        def _read(self, offset: int, length: int) -> bytes:
            self.read_bytes += length
            return super()._read(offset, length)

    source = Counting(1024**4, {MIB: b"a" * 100, 1024**3: bytes(200 * 1024) + b"b"})
    told: list[int] = []
    pieces = {offset: bytes(piece) for offset, piece in data_chunks(source, progress=told.append)}
    assert pieces == {MIB: b"a" * 100, 1024**3 + 192 * 1024: bytes(8 * 1024) + b"b"}
    assert source.read_bytes == sum(told) == 100 + 200 * 1024 + 1


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 6000).map(lambda sectors: sectors * 1000),
    pieces=st.dictionaries(st.integers(0, 6_000_000), st.binary(min_size=1, max_size=300_000), max_size=6),
    spans=st.lists(st.tuples(st.integers(0, 6_000_000), st.integers(0, 4_000_000)), max_size=10),
)
def test_a_vhdx_reads_anywhere_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    pieces: dict[int, bytes],
    spans: list[tuple[int, int]],
) -> None:
    source = MemoryDisk(size, {at: piece for at, piece in pieces.items() if at + len(piece) <= size})
    path = tmp_path_factory.mktemp("vhdx") / "a.vhdx"
    vhdx.write_dynamic(source, path)
    with disk.open(path) as opened:
        for offset, length in spans:
            if offset + length <= size:
                assert opened.read(offset, length) == source.read(offset, length)


def test_no_space_left_is_our_error_with_a_hint(tmp_path: Path, memory_disk: MemoryDisk) -> None:
    def full(length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskError, match="No space left") as caught:
        convert(memory_disk, tmp_path / "a.vhdx", "vhdx", full)
    assert "free some space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
