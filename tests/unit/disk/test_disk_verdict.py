"""azure_findings: which ids, and that a FixedVhd has none."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vmstamp import disk
from vmstamp.disk import FixedVhd, azure_findings
from vmstamp.disk.footer import checksum, make_footer
from vmstamp.disk.memory import MemoryDisk

MIB, TIB = 1024**2, 1024**4


def vhd(path: Path, changes: dict[int, bytes] | None = None, size: int = 20 * MIB) -> Path:
    footer = bytearray(make_footer(20 * MIB, UUID(int=3), datetime(2024, 1, 1, tzinfo=UTC)))
    for at, new in (changes or {}).items():
        footer[at : at + len(new)] = new
    struct.pack_into(">I", footer, 64, checksum(bytes(footer)))
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(footer)
    return path


@pytest.mark.parametrize(
    ("changes", "size", "ids"),
    [
        ({}, 20 * MIB, []),
        ({56: bytes.fromhex("ffff10ff")}, 20 * MIB, []),
        ({56: bytes.fromhex("00010101")}, 20 * MIB, ["vhd-geometry"]),
        ({16: bytes(8)}, 20 * MIB, ["vhd-fixed"]),
        ({40: bytes(8)}, 20 * MIB, ["vhd-size-consistent"]),
        ({68: bytes(16)}, 20 * MIB, ["vhd-unique-id"]),
        ({}, 20 * MIB + 512, ["vhd-size-consistent"]),
        (
            {48: struct.pack(">Q", 20 * MIB - 512)},
            20 * MIB,
            ["vhd-size-1mib", "vhd-size-min", "vhd-size-consistent", "vhd-size-consistent"],
        ),
    ],
)
def test_a_fixed_vhd_is_judged_by_its_footer(
    tmp_path: Path, changes: dict[int, bytes], size: int, ids: list[str]
) -> None:
    with disk.open(vhd(tmp_path / "a.vhd", changes, size)) as opened:
        assert [finding.id for finding in azure_findings(opened)] == ids


@pytest.mark.parametrize(
    ("size", "ids"),
    [
        (20 * MIB, ["vhd-container-kind"]),
        (19 * MIB, ["vhd-container-kind", "vhd-size-min"]),
        (20 * MIB + 1, ["vhd-container-kind", "vhd-size-1mib"]),
        (3 * TIB, ["vhd-container-kind", "vhd-size-max-gen1"]),
        (5 * TIB, ["vhd-container-kind", "vhd-size-max-gen2"]),
        (33 * TIB, ["vhd-container-kind", "vhd-size-max-gen2"]),
    ],
)
def test_a_raw_disk_is_judged_by_its_size(size: int, ids: list[str]) -> None:
    assert [finding.id for finding in azure_findings(MemoryDisk(size, {}))] == ids


def test_a_fixed_vhd_view_is_right_as_it_lies() -> None:
    assert azure_findings(FixedVhd(MemoryDisk(20 * MIB + 1, {}))) == []
