"""The VHD footer: literals, not our own constants."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from uuid import UUID

import pytest

from vmstamp.disk.footer import Geometry, geometry, make_footer, parse_footer
from vmstamp.errors import DiskError

ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
NOON = datetime(2000, 1, 1, 12, tzinfo=UTC)
MIB, GIB = 1024**2, 1024**3


def test_make_footer_gives_the_bytes_of_the_specification() -> None:
    footer = make_footer(30 * GIB, ID, NOON)
    assert len(footer) == 512
    assert footer[:8] == b"conectix"
    assert footer[8:24] == bytes.fromhex("00000002 00010000 ffffffffffffffff")
    assert footer[24:28] == struct.pack(">I", 12 * 3600)
    assert footer[28:32] == b"win "
    assert footer[40:56] == struct.pack(">QQ", 30 * GIB, 30 * GIB)
    assert footer[56:60] == bytes.fromhex("f3cf 10 3f")  # 62415 cylinders, 16 heads, 63 sectors
    assert footer[60:64] == bytes.fromhex("00000002")
    assert footer[68:84] == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert not any(footer[84:])
    total = sum(footer) - sum(footer[64:68])
    assert footer[64:68] == struct.pack(">I", 0xFFFFFFFF - total)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1 * MIB, Geometry(30, 4, 17)),
        (20 * MIB, Geometry(602, 4, 17)),
        (1 * GIB, Geometry(2080, 16, 63)),
        (127 * GIB, Geometry(65278, 16, 255)),
        (2040 * GIB, Geometry(65535, 16, 255)),
        (4095 * GIB, Geometry(65535, 16, 255)),
    ],
)
def test_geometry_follows_the_appendix(size: int, expected: Geometry) -> None:
    assert geometry(size) == expected


def test_parse_footer_reads_what_make_footer_wrote() -> None:
    footer = parse_footer(make_footer(20 * MIB, ID, NOON), "a.vhd", 0)
    assert (footer.current_size, footer.original_size) == (20 * MIB, 20 * MIB)
    assert (footer.unique_id, footer.created, footer.disk_type) == (ID, NOON, 2)


def test_a_wrong_checksum_is_named_with_both_values() -> None:
    footer = bytearray(make_footer(20 * MIB, ID, NOON))
    footer[100] = 1
    with pytest.raises(DiskError, match=r"checksum is 0x\w{8}, computed 0x\w{8}") as caught:
        parse_footer(bytes(footer), "a.vhd", 1000)
    assert (caught.value.offset, bool(caught.value.spec), bool(caught.value.hint)) == (1064, True, True)


@pytest.mark.parametrize("size", [0, -512, 513])
def test_make_footer_refuses_sizes_that_are_not_whole_sectors(size: int) -> None:
    with pytest.raises(ValueError, match="whole number of sectors"):
        make_footer(size, ID, NOON)


@pytest.mark.parametrize("bit", range(0, 85 * 8, 7))
def test_a_flipped_bit_in_the_footer_is_always_found(bit: int) -> None:
    footer = bytearray(make_footer(20 * MIB, ID, NOON))
    footer[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DiskError):
        parse_footer(bytes(footer), "a.vhd", 0)
