"""All checks of a Windows at once: on a good one, and on damaged and hostile ones."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from tests.unit.guest.hives import build_hive
from tests.unit.guest.windows_guests import (
    CONFIG,
    LOADER,
    STATE,
    SYSTEM,
    WindowsGuests,
    element,
)
from tests.unit.guest.windows_verdicts import RULES, SYSPREP_LOGS, UNATTEND, bad
from vmstamp.errors import GuestError
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.windows.hive import Hive


@pytest.mark.parametrize("generation", [1, 2])
def test_a_good_windows_passes_every_check(windows: WindowsGuests, generation: int) -> None:
    facts = windows.facts(generation=generation)
    assert bad(facts) == {}
    assert facts.os is not None
    assert (facts.os.kind, facts.os.id, facts.os.version_id) == ("Windows", "windows", "20348")
    assert facts.os.pretty_name == "Windows Server 2022 Datacenter"
    assert facts.architecture == "x86_64"
    ran = [check.id for check in CHECKS if judge(check, facts).status is Status.PASS]
    assert not any(id.startswith(("ci-", "wa-", "kernel-", "initramfs-", "fstab-")) for id in ran)


def test_no_check_of_windows_is_a_question_for_linux(guests: Any) -> None:
    statuses = {judge(c, guests.facts({})).status for c in CHECKS if c.id.startswith("win-")}
    assert statuses == {Status.NOT_APPLICABLE}


def test_no_fix_has_edits_for_a_good_windows(windows: WindowsGuests) -> None:
    facts = windows.facts()
    for check in CHECKS:
        if check.id.startswith("win-") and check.fix is not None and check.applies(facts):
            assert list(check.fix(facts)) == [], check.id


def test_damaged_hives_never_stop_the_checks(windows: WindowsGuests) -> None:
    whole = build_hive(SYSTEM)
    numbers = random.Random(5)
    for _ in range(12):
        data = bytearray(whole)
        for _ in range(60):
            data[numbers.randrange(4096, len(data))] ^= 1 << numbers.randrange(8)
        facts = windows.facts({f"{CONFIG}/SYSTEM": bytes(data)})
        assert facts.os is not None
        assert all(judge(check, facts).found for check in CHECKS)


def test_hostile_texts_take_no_time(windows: WindowsGuests) -> None:
    """Each of these takes minutes where a pattern goes back over what it has read."""
    spaces = " " * 900_000
    error = "x, Error" * 200_000
    facts = windows.facts(
        {
            UNATTEND: f"<Password>{spaces}<Password>{spaces[:100_000]}",
            "/Windows/Setup/State/State.ini": "\n" * 60_000,
            f"{SYSPREP_LOGS}/setuperr.log": error,
        },
        software={STATE: {"ImageState": "IMAGE_STATE_COMPLETE" + "\x1b[31m" * 9000}},
        system={RULES: {"x": "v2|" + "RA4=1|LPort=1|" * 30_000}},
        store={element(LOADER, 0x14000006): {"Element": (LOADER,) * 20_000}},
    )
    begun = time.process_time()
    findings = [judge(check, facts) for check in CHECKS]
    assert time.process_time() - begun < 5
    assert all(len(f.found) < 1000 and f.found.isprintable() and f.where.isprintable() for f in findings)


def test_a_hive_is_read_only_so_much(guests: Any) -> None:
    """However often its cells name each other."""
    tree = {"a": {f"v{number}": bytes(1_000) for number in range(900)}}
    key = Hive(guests.node(build_hive(tree)), "/x", "x").find("a")
    assert key is not None
    with pytest.raises(GuestError, match="too much of it"):
        for _ in range(1000):
            assert len(key.values()) == 900
