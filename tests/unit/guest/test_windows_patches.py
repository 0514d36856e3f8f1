"""Whether Windows has the patches that the marketplace asks for."""

from __future__ import annotations

import struct

import pytest

from tests.unit.guest.windows_guests import WindowsGuests, pe
from vmstamp.guest.checks.windows.machine import CHECKS
from vmstamp.guest.finding import Status


@pytest.mark.parametrize(
    ("build", "version", "status"),
    [
        ("14393", (10, 0, 14393, 953), Status.PASS),
        ("14393", (10, 0, 14393, 0), Status.WARNING),
        ("9600", (6, 3, 9600, 18603), Status.WARNING),
        ("9600", (6, 3, 9600, 20000), Status.PASS),
        ("9600", None, Status.NOT_APPLICABLE),
        ("20348", (10, 0, 20348, 1), Status.NOT_APPLICABLE),
    ],
)
def test_the_smb_server_is_asked_for_its_patch(
    windows: WindowsGuests, build: str, version: tuple[int, int, int, int] | None, status: Status
) -> None:
    driver = pe()
    if version is not None:
        numbers = (version[0] << 16 | version[1], version[2] << 16 | version[3])
        driver += b"\xbd\x04\xef\xfe" + struct.pack("<III", 0x10000, *numbers)
    facts = windows.facts(
        {"/Windows/System32/drivers/srv2.sys": driver},
        software={r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": build}},
    )
    (check,) = (one for one in CHECKS if one.id == "win-wannacry")
    assert (check.run(facts).status if check.applies(facts) else Status.NOT_APPLICABLE) is status
