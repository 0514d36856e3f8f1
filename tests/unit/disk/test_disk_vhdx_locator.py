"""The parent locator of differencing VHDX files."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from vmstamp.disk.vhdx.locator import HEADER, LOCATOR_TYPE, make_locator, parse_locator
from vmstamp.errors import DiskError

PATH = Path("child.avhdx")
# One pair, written by hand from the tables of 2.6.2.6: key at 32, value behind it.
GOLDEN = (
    bytes.fromhex("b7ef4ab0 9ed1 814a b789 25b8e9445913 0000 0100".replace(" ", ""))
    + bytes.fromhex("20000000 3a000000 1a00 0600".replace(" ", ""))
    + "relative_path".encode("utf-16-le")
    + "a.b".encode("utf-16-le")
)


def test_a_locator_is_read_as_the_specification_lays_it_out() -> None:
    assert parse_locator(GOLDEN, PATH, 0) == {"relative_path": "a.b"}


def test_a_locator_is_written_as_the_specification_lays_it_out() -> None:
    assert make_locator({"relative_path": "a.b"}) == GOLDEN


def test_other_keys_are_left_out() -> None:
    pairs = {"colour": "blue", "relative_path": "b.vhdx", "relative_path_": "c.vhdx"}
    assert parse_locator(make_locator(pairs), PATH, 0) == {"relative_path": "b.vhdx"}


@pytest.mark.parametrize(
    ("data", "offset", "message"),
    [
        (GOLDEN[:19], 7, "too short"),
        (b"\0" + GOLDEN[1:], 7, "type .* is unknown"),
        (GOLDEN[:18] + b"\x09\0" + GOLDEN[20:], 7, "cannot hold 9 entries"),
        (GOLDEN[:30] + b"\xff\0" + GOLDEN[32:], 27, "entry 0 of the parent locator reaches behind its end"),
    ],
)
def test_a_malformed_locator_is_refused_with_its_place(data: bytes, offset: int, message: str) -> None:
    with pytest.raises(DiskError, match=message) as caught:
        parse_locator(data, PATH, 7)
    assert (caught.value.offset, caught.value.spec) == (offset, "[MS-VHDX] 2.6.2.6")


def test_many_entries_over_the_same_bytes_cost_no_memory() -> None:
    count, size = 65535, 1024 * 1024
    strings = HEADER.size + 12 * count
    table = b"".join(struct.pack("<IIHH", strings + 2 * at, strings, 65534, 65534) for at in range(count))
    data = (HEADER.pack(LOCATOR_TYPE.bytes_le, count) + table).ljust(size, b"x")
    tracemalloc.start()
    try:
        assert parse_locator(data, PATH, 0) == {}
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()
