"""Hives, logs, templates and drivers that are cut and flipped: findings or errors in words, soon."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.guest.hives import build_hive
from tests.unit.guest.windows_guests import (
    CONFIG,
    SOFTWARE,
    SYSTEM,
    WindowsGuests,
    bcd_template,
    changed,
    pe,
)
from tests.unit.guest.windows_verdicts import COMPLETE, SYSPREP_LOGS
from vmstamp.errors import VmstampError
from vmstamp.guest.checks.windows import CHECKS
from vmstamp.guest.doctor import edits_of
from vmstamp.guest.edits import describe
from vmstamp.guest.finding import judge

RUNS = 12
SECRET = "hunter2hunter2"
STORE = "/EFI/Microsoft/Boot/BCD"
CACHE = r"Microsoft\ServerManager\ServicingStorage\ServerComponentCache\DHCP"
LISTENER = r"Microsoft\Windows\CurrentVersion\WSMAN\Listener\*+HTTPS"
LOG = "2026-05-01 10:00:00, Error SYSPRP === Beginning of a new sysprep run ===\r\n" * 200

Mutate = Callable[[random.Random, bytes], bytes]


def cut(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def flipped(chance: random.Random, data: bytes) -> bytes:
    after = bytearray(data)
    for _ in range(chance.randrange(1, 30)):
        after[chance.randrange(len(after))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(after)


def led_astray(chance: random.Random, data: bytes) -> bytes:
    """Offsets and counts that lead elsewhere, to where they stand, or far away."""
    after = bytearray(data)
    for _ in range(chance.randrange(1, 12)):
        at = chance.randrange(len(after) - 4)
        value = chance.choice((0, at, 0x20, 0xFFFFFFFF, 0x7FFFFFFF, chance.randrange(len(after))))
        struct.pack_into("<I", after, at, value)
    return bytes(after)


FILES: dict[str, bytes] = {
    f"{CONFIG}/SYSTEM": build_hive(SYSTEM),
    f"{CONFIG}/SOFTWARE": build_hive(
        changed(SOFTWARE, {CACHE: {"InstallState": 1}, LISTENER: {"certThumbprint": SECRET}})
    ),
    f"{CONFIG}/BCD-Template": build_hive(bcd_template()),
    "/Windows/System32/drivers/storvsc.sys": pe(imports=("winhv.sys",)),
    f"{SYSPREP_LOGS}/setupact.log": LOG.encode("utf-16"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutate", [cut, flipped, led_astray])
@pytest.mark.parametrize("path", FILES)
def test_a_hostile_file_gives_findings_and_no_secret(
    windows: WindowsGuests, path: str, mutate: Mutate
) -> None:
    chance = random.Random(f"{path} {mutate.__name__}")
    for _ in range(RUNS):
        changes: dict[str, Any] = {**COMPLETE["changes"], **FILES, path: mutate(chance, FILES[path])}
        try:
            facts = windows.facts(changes, boot={STORE: None})
        except VmstampError:
            continue
        said = [judge(check, facts).found for check in CHECKS]
        said += [describe(edit) for check in CHECKS for edit in edits_of(check, facts)]
        assert SECRET not in " ".join(said)
