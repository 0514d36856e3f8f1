"""A disk seen with another size."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import (
    LINUX_FILE_SYSTEM,
    NewPartition,
    build_gpt,
    read_partitions,
)
from vmstamp.disk.resized import Changed, Resized

MIB = 1024 * 1024


def disk_with_partition(length: int) -> MemoryDisk:
    """8 MiB with one partition of `length` bytes at 1 MiB."""
    gpt = build_gpt(8 * MIB, [NewPartition(LINUX_FILE_SYSTEM, "root", MIB, length, uuid4())], uuid4())
    return MemoryDisk(8 * MIB, {0: gpt.head, gpt.tail_offset: gpt.tail})


@settings(max_examples=80, deadline=None)
@given(
    size=st.integers(1, 5000),
    new_size=st.integers(1, 5000),
    pieces=st.dictionaries(st.integers(0, 4999), st.binary(min_size=1, max_size=600), max_size=4),
    changes=st.dictionaries(st.integers(0, 4999), st.binary(min_size=1, max_size=600), max_size=3),
    span=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
)
def test_it_reads_as_the_source_with_the_changes_over_it(
    size: int, new_size: int, pieces: dict[int, bytes], changes: dict[int, bytes], span: tuple[int, int]
) -> None:
    source = MemoryDisk(size, {at: piece for at, piece in pieces.items() if at + len(piece) <= size})
    inside = {at: piece for at, piece in sorted(changes.items()) if at + len(piece) <= new_size}
    expected = bytearray(source.read(0, min(size, new_size)).ljust(new_size, b"\0"))
    for at, piece in inside.items():
        expected[at : at + len(piece)] = piece
    view = Changed(source, new_size, inside)
    start, end = min(span[0], new_size), min(sum(span), new_size)
    assert view.read(start, end - start) == expected[start:end]
    rebuilt, last = bytearray(new_size), -1
    for low, high in view.extents():
        assert last < low < high <= new_size
        rebuilt[low:high], last = view.read(low, high - low), high
    assert rebuilt == expected


def test_a_change_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="not inside a disk of 10 bytes"):
        Changed(MemoryDisk(20, {}), 10, {8: b"abc"})


@pytest.mark.parametrize("size", [7 * MIB, 8 * MIB + 512, 20 * MIB])
def test_the_backup_gpt_moves_with_the_end(size: int) -> None:
    before = disk_with_partition(4 * MIB)
    after = read_partitions(Resized(before, size))
    assert after.notes == ()
    assert after.partitions == read_partitions(before).partitions


def test_a_table_whose_partitions_do_not_fit_is_left_as_it_is() -> None:
    before = disk_with_partition(0)
    assert Resized(before, 4 * MIB).read(0, 4 * MIB) == before.read(0, 4 * MIB)
