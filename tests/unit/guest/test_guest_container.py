"""The checks of the file and of where partitions lie, each on a disk that fails only it."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from vmstamp.disk.footer import make_footer
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import PartitionTable
from vmstamp.guest.checks.container import CHECKS, mended_by_upload
from vmstamp.guest.facts import Target
from vmstamp.guest.finding import Status, judge

MIB, GIB = 1024**2, 1024**3
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def bad(facts: Any) -> dict[str, tuple[Status, str]]:
    found = {check.id: judge(check, facts) for check in CHECKS}
    return {id: (f.status, f.found) for id, f in found.items() if f.status in (Status.FAIL, Status.WARNING)}


def blob(guests: Any, footer: bytes, size: int = 2 * GIB) -> Any:
    disk = guests.disk(size)
    disk.uploaded = True
    disk.last_sector = footer
    return disk


def footer_with(
    size: int = 2 * GIB, changes: dict[int, bytes] | None = None, *, sum_up: bool = True
) -> bytes:
    from vmstamp.disk.footer import checksum

    footer = bytearray(make_footer(size, UUID(int=7), WHEN))
    for at, data in (changes or {}).items():
        footer[at : at + len(data)] = data
    if sum_up:
        struct.pack_into(">I", footer, 64, checksum(bytes(footer)))
    return bytes(footer)


def test_a_blob_with_a_right_footer_has_nothing(guests: Any) -> None:
    assert bad(guests.facts({}, blob(guests, footer_with()))) == {}


@pytest.mark.parametrize(
    ("check", "status", "footer"),
    [
        ("vhd-footer-checksum", Status.FAIL, footer_with(changes={30: b"?"}, sum_up=False)),
        ("vhd-fixed", Status.FAIL, footer_with(changes={60: b"\0\0\0\3"})),
        ("vhd-size-consistent", Status.FAIL, footer_with(3 * GIB)),
        ("vhd-unique-id", Status.WARNING, footer_with(changes={68: bytes(16)})),
        ("vhd-geometry", Status.WARNING, footer_with(changes={56: b"\0\1\1\1"})),
    ],
)
def test_a_blobs_footer_is_judged(guests: Any, check: str, status: Status, footer: bytes) -> None:
    found = bad(guests.facts({}, blob(guests, footer)))
    assert {id: status for id, (status, _) in found.items()} == {check: status}


@pytest.mark.parametrize(
    ("size", "kind", "expected"),
    [
        (GIB, "Linux", None),
        (GIB - MIB, "Linux", "it has 1023 MiB; the marketplace takes 1 to 1023 GiB of a Linux"),
        (1023 * GIB, "Linux", None),
        (1024 * GIB, "Windows", None),
        (1024 * GIB, "Linux", "it has 1024.0 GiB; the marketplace takes 1 to 1023 GiB of a Linux"),
    ],
)
def test_the_marketplaces_sizes(guests: Any, size: int, kind: str, expected: str | None) -> None:
    facts = guests.facts({}, guests.disk(size))
    facts = replace(facts, os=replace(facts.os, kind=kind), target=Target(mode="marketplace"))
    found = bad(facts).get("vhd-size-marketplace")
    assert found == (None if expected is None else (Status.FAIL, expected))


def test_a_partition_in_the_first_mib(guests: Any) -> None:
    facts = guests.facts({})
    table = facts.survey.table
    first = replace(table.partitions[0], start=34 * 512)
    moved = PartitionTable("gpt", (first, *table.partitions[1:]))
    facts = replace(facts, survey=replace(facts.survey, table=moved))
    assert bad(facts) == {"part-first-mib-free": (Status.WARNING, "partition 1 starts at byte 17408")}


def test_a_disk_over_another_is_a_chain(guests: Any) -> None:
    disk = guests.disk(format="qcow2", subformat="")
    disk.parent = MemoryDisk(MIB, {})
    assert set(bad(guests.facts({}, disk))) == {"disk-snapshot-chain", "vhd-container-kind"}
    assert mended_by_upload(disk) == {"disk-snapshot-chain", "vhd-container-kind"}


def test_a_large_disk_for_gen1_only(guests: Any) -> None:
    facts = guests.facts({}, guests.disk(3 * 1024 * GIB))
    assert "vhd-size-max-gen1" not in bad(facts)
    assert "vhd-size-max-gen1" in bad(replace(facts, target=Target(1)))
