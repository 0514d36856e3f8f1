"""Checksums and signatures of the drivers that Windows boots with, each wrong on one that fails only this."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from tests.unit.guest.windows_guests import CATALOG, WindowsGuests, pe
from tests.unit.guest.windows_verdicts import SERVICES, bad, finding
from vmstamp.guest.finding import Status
from vmstamp.guest.windows.pe import read_seal

STORVSC = "/Windows/System32/drivers/storvsc.sys"
CHECKSUM = 0x80 + 24 + 64
SIGNATURE = 0x80 + 24 + 112 + 8 * 4  # its directory entry


def driver(*, told: int | None = None, signature: tuple[int, int] = (0, 0), tail: bytes = b"") -> bytes:
    """A driver with its right checksum, or the one told; `signature` is where its certificates lie."""
    data = bytearray(pe() + tail)
    struct.pack_into("<II", data, SIGNATURE, *signature)
    struct.pack_into("<I", data, CHECKSUM, checksum(bytes(data)) if told is None else told)
    return bytes(data)


def checksum(data: bytes) -> int:
    """As ImageHlp computes it, word by word."""
    total = 0
    padded = data + bytes(len(data) % 2)
    for at in range(0, len(padded), 2):
        if at not in (CHECKSUM, CHECKSUM + 2):
            total += padded[at] | padded[at + 1] << 8
            total = (total & 0xFFFF) + (total >> 16)
    return total + len(data)


@pytest.mark.parametrize("tail", [b"", b"x", b"\xff" * 70_001])
def test_a_whole_driver_passes(windows: WindowsGuests, tail: bytes) -> None:
    assert bad(windows.facts({STORVSC: driver(tail=tail)})) == {}


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ("is damaged: its checksum is 0x1234, computed", driver(told=0x1234)),
        ("is damaged", driver()[:-1] + b"x"),
        ("is cut off: its signature lies behind its end", driver(signature=(0x600, 0x100))),
    ],
)
def test_a_driver_that_is_not_whole_fails(windows: WindowsGuests, said: str, data: bytes) -> None:
    facts = windows.facts({STORVSC: data})
    assert bad(facts) == {"win-driver-signatures": "fail"}
    found = finding(facts, "win-driver-signatures")
    assert said in found.found and "storvsc" in found.found
    assert found.where == STORVSC


def test_without_catalogs_a_driver_needs_a_signature_of_its_own(windows: WindowsGuests) -> None:
    facts = windows.facts({CATALOG: None})
    assert bad(facts) == {"win-driver-signatures": "warning"}
    signed = driver(signature=(0x600, 0x10), tail=bytes(16))
    names = ("acpi", "pci", "vdrvroot", "vmbus", "storvsc", "disk", "partmgr", "volmgr", "mountmgr")
    changes: dict[str, Any] = {
        f"/Windows/System32/drivers/{name}.sys": signed for name in (*names, "volsnap", "storflt", "rdyboost")
    }
    facts = windows.facts({**changes, CATALOG: None})
    assert bad(facts) == {}
    assert "12 boot drivers have signatures" in finding(facts, "win-driver-signatures").found


def test_only_drivers_that_boot_are_looked_at(windows: WindowsGuests) -> None:
    broken = {"/Windows/System32/drivers/other.sys": driver(told=1)}
    for values, status in (
        ({"Start": 3, "Type": 1}, Status.PASS),
        ({"Start": 0, "Type": 16}, Status.PASS),
        ({"Start": 0, "Type": 1}, Status.FAIL),
    ):
        facts = windows.facts(dict(broken), system={rf"{SERVICES}\other": values})
        assert finding(facts, "win-driver-signatures").status is status


def test_cut_and_flipped_drivers_give_a_seal_or_none() -> None:
    whole = driver(signature=(0x600, 0x10), tail=bytes(16))
    chance = random.Random(7)
    for _ in range(3000):
        data = bytearray(whole[: chance.randrange(len(whole) + 1)])
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(min(len(data), 0x200))] = chance.randrange(256)
        seal = read_seal(bytes(data))
        assert seal is None or seal.computed >= len(data)
