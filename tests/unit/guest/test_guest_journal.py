"""systemd's journal files by their index, and what doctor says of a boot; systemd made the files."""

from __future__ import annotations

import lzma
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from vmstamp.errors import GuestError
from vmstamp.guest.checks.logs import CHECKS, UNIT_FAILED
from vmstamp.guest.files.journal import DATA, Journal
from vmstamp.guest.finding import Finding, judge

JOURNALS = Path(__file__).parents[2] / "data" / "journals"
FORMATS = ("plain", "compact")
FAILED_TO_START, FAILED_WITH_RESULT = UNIT_FAILED
SYSTEM = "/var/log/journal/0123456789abcdef0123456789abcdef/system.journal"
OLDER = SYSTEM.replace("system.", "system@aa-0000000000000001-0005f9a8.")
BOOT = bytes.fromhex("22" * 16)


def read(name: str) -> bytes:
    return lzma.decompress((JOURNALS / f"{name}.journal.xz").read_bytes())


def found(guests: Any, data: bytes, field: str, value: str) -> list[tuple[int, str]]:
    journal = Journal(guests.node(data))
    return [(e.time, e.fields.get("MESSAGE", "")) for e in journal.entries(field, value, journal.boot_id)]


@pytest.mark.parametrize("name", FORMATS)
def test_the_entries_of_a_value_in_the_last_boot(guests: Any, name: str) -> None:
    data, failed = read(name), "service: Failed with result 'exit-code'."
    assert Journal(guests.node(data)).boot_id == BOOT
    assert found(guests, data, "MESSAGE_ID", FAILED_WITH_RESULT) == [
        (1700000100000001, f"web.{failed}"),
        (1700000100000003, f"hv-kvp-daemon.{failed}"),
        (1700000100000005, f"web.{failed}"),
    ]
    assert found(guests, data, "UNIT", "db.service") == [(1700000100000004, "Failed to start db.service.")]
    assert found(guests, data, "UNIT", "old.service") == found(guests, data, "UNI", "T=db.service") == []


def value_of(journal: Journal, text: bytes) -> int:
    """Where the data object of FIELD=VALUE lies."""
    field = text.partition(b"=")[0]
    return next(one for one in journal._values(field) if journal._payload(one, DATA) == text)


def test_packed_values_are_left_out(guests: Any) -> None:
    data = bytearray(read("plain"))
    place = value_of(Journal(guests.node(bytes(data))), b"MESSAGE=Failed to start db.service.")
    data[place + 1] = 4
    assert found(guests, bytes(data), "UNIT", "db.service") == [(1700000100000004, "")]


def test_another_file_and_a_newer_format_are_refused(guests: Any) -> None:
    newer = bytearray(read("plain"))
    newer[0x0C] = 32
    for data, why in ((b"x" * 1000, "no journal"), (b"LPK", "ends before"), (bytes(newer), "features 0x20")):
        with pytest.raises(GuestError, match=why):
            Journal(guests.node(data))


def test_a_chain_without_end_is_an_error(guests: Any) -> None:
    data = bytearray(read("plain"))
    place = value_of(Journal(guests.node(bytes(data))), b"UNIT=web.service")
    struct.pack_into("<Q", data, place + 0x20, place)
    with pytest.raises(GuestError, match="does not end"):
        found(guests, bytes(data), "UNIT", "old.service")


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_an_error_or_entries_and_no_other_exception(guests: Any, name: str) -> None:
    chance = random.Random(7)
    data = read(name)
    used = len(data.rstrip(b"\0"))
    for _ in range(200):
        broken = bytearray(data[: chance.choice([used, chance.randrange(used)])])
        for _ in range(chance.randrange(20) if broken else 0):
            broken[chance.randrange(len(broken)) // 8 * 8] = chance.choice([0, 1, 3, 255])
        try:
            found(guests, bytes(broken), "MESSAGE_ID", FAILED_WITH_RESULT)
        except GuestError:
            continue


# -- the check

SYSLOG, CLOUD_LOG = "/var/log/syslog", "/var/log/cloud-init.log"
BOOTED = "Nov 28 host kernel: [    0.000000] Linux version 6.1\n"
UNIT_LINE = "Nov 28 host systemd[1]: {}: Failed with result 'exit-code'.\n"


def judged(guests: Any, files: dict[str, str | bytes]) -> Finding:
    return judge(CHECKS[0], guests.facts(files))


@pytest.mark.parametrize("name", FORMATS)
def test_units_that_failed_are_named_but_for_those_of_hyper_v(guests: Any, name: str) -> None:
    finding = judged(guests, {SYSTEM: read(name)})
    assert (finding.status, finding.where) == ("warning", SYSTEM)
    assert finding.found == "units failed in the last boot: db.service, web.service"


def test_an_older_journal_tells_of_the_last_boot_too_and_of_no_other(guests: Any) -> None:
    newer = bytearray(read("plain"))
    struct.pack_into("<Q", newer, 0xC0, 1800000000000000)
    assert judged(guests, {SYSTEM: bytes(newer), OLDER: read("compact")}).status == "warning"
    newer[0x38:0x48] = b"x" * 16
    assert judged(guests, {SYSTEM: bytes(newer), OLDER: read("compact")}).status == "pass"


def test_a_damaged_journal_is_told(guests: Any) -> None:
    finding = judged(guests, {SYSTEM: b"LPKSHHRH" + bytes(1000)})
    assert (finding.status, finding.found) == ("pass", "nothing failed in the last boot that is logged")
    finding = judged(guests, {SYSTEM: b"LPK"})
    assert finding.status == "warning"
    assert finding.found.startswith("could not be checked")


@pytest.mark.parametrize(
    ("path", "text", "said", "where"),
    [
        (SYSLOG, BOOTED + UNIT_LINE.format("a.service"), "units failed in the last boot: a.service", ":2"),
        (SYSLOG, UNIT_LINE.format("a.service") + BOOTED, "", ""),
        (SYSLOG, UNIT_LINE.format("hypervkvpd.service"), "", ""),
        (
            "/var/log/messages",
            "host systemd[1]: Unit b.mount entered failed state.\n",
            "units failed in the last boot: b.mount",
            ":1",
        ),
        (
            "/var/log/dmesg",
            "[ 1.0] EXT4-fs error (device sda1): \x1b[31m\n",
            "the last boot: EXT4-fs error (device sda1): ?[31m",
            ":1",
        ),
        (SYSLOG, "host kernel: blk_update_request: I/O error, dev fd0, sector 0\n", "", ""),
        (SYSLOG, "host web: kernel panic and Oops\n", "", ""),
        (CLOUD_LOG, "x - util.py[ERROR]: s3cret\n", "the last boot: cloud-init logged an error", ":1"),
        (CLOUD_LOG, "x - util.py[WARNING]: it\n", "", ""),
    ],
)
def test_text_logs_are_read_from_the_last_boot_on(
    guests: Any, path: str, text: str, said: str, where: str
) -> None:
    finding = judged(guests, {path: text})
    assert finding.status == ("warning" if said else "pass")
    assert finding.found == (said or "nothing failed in the last boot that is logged")
    assert finding.where == (path + where if said else "")


def test_of_a_long_log_the_end_is_read(guests: Any) -> None:
    text = "x" * 99 + "\n"
    finding = judged(guests, {SYSLOG: text * 20_000 + UNIT_LINE.format("a.service")})
    assert (finding.status, finding.where) == ("warning", SYSLOG)


def test_many_units_are_counted(guests: Any) -> None:
    lines = "".join(UNIT_LINE.format(f"u{n}.service") for n in range(9))
    assert judged(guests, {SYSLOG: lines}).found.endswith("u4.service and 4 more")
