"""The check of what the last boot logged: units that failed, errors of the kernel and of cloud-init."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.journal import Entry, Journal
from vmstamp.guest.finding import Check, Severity, Verdict, not_applicable, passed, warned

JOURNALS = "/var/log/journal"
JOURNAL_COUNT = 8  # of one directory, the newest
ENTRY_COUNT = 1000  # of one kind that are looked at
# systemd's ids of "Failed to start" and of "Failed with result". Spec: systemd sd-messages.h
UNIT_FAILED = ("be02cf6855d2428ba40df7e9d022f03d", "d9b373ed55a64feb8242e02dbe79a49c")
GRAVE = ("0", "1", "2", "3")  # syslog(3): up to LOG_ERR

SYSLOGS = ("/var/log/syslog", "/var/log/messages")
KERNEL_LOG = "/var/log/dmesg"
CLOUD_INIT_LOG = "/var/log/cloud-init.log"
TAIL = 1024 * 1024  # bytes of a text log that are read, from its end
BOOT_BEGINS = "Linux version "
LINE = 2000  # characters of a line that are looked at
SHOWN_UNITS = 5

_UNIT_NAME = r"[\w.:@\\-]{1,200}\.(?:service|socket|mount|target|device|swap|path|timer|slice|scope)"
_UNIT_LINE = re.compile(
    rf"systemd\[1\]: (?:({_UNIT_NAME}): Failed with result|Unit ({_UNIT_NAME}) entered failed)"
)
_KERNEL = re.compile(
    r"EXT4-fs error|XFS \([^)]*\): .*[Cc]orruption|BTRFS (?:error|critical)|I/O error[, ].*dev"
    r"|\bBUG: |\bOops\b|Kernel panic|Out of memory: Kill"
)
_CLOUD_INIT = re.compile(r"\[(?:ERROR|CRITICAL)\]: ")
# Daemons that run on Hyper-V only, drives that are empty, and what LISA leaves out as well.
_NOT_MEANT = re.compile(
    r"hv[-_](?:kvp|vss|fcopy)[-_]daemon|hyperv(?:kvp|vss|fcopy)d|systemd-journald|display-manager"
    r"|dev (?:fd0|sr0)\b"
)


@dataclass(frozen=True)
class Trouble:
    """Something that failed: a unit's name, or what else it is; `where` it is logged."""

    unit: str
    what: str
    where: str


def _journals(files: Files) -> Iterator[tuple[str, Journal]]:
    """(path, journal) of the system's journals, of each machine id's directory the newest."""
    for directory in files.list(JOURNALS)[:JOURNAL_COUNT]:
        path = f"{JOURNALS}/{directory}"
        names = [n for n in files.list(path) if re.fullmatch(r"system@.*\.journal", n)]
        archived = sorted(names, key=lambda name: name.rsplit("-", 1)[-1])
        for name in (*archived[-JOURNAL_COUNT:], "system.journal"):
            node = files.find(f"{path}/{name}")
            if node is not None and files.is_file(f"{path}/{name}") and node.size:
                yield f"{path}/{name}", Journal(node)


def _of_journals(files: Files) -> tuple[bool, list[Trouble]]:
    """Whether there is a journal, and what failed in the boot of its last entry."""
    journals = list(_journals(files))
    if not journals:
        return False, []
    boot_id = max((journal.time, journal.boot_id) for _, journal in journals)[1]
    found = []
    for path, journal in journals:
        for message in UNIT_FAILED:
            for entry in _some(journal.entries("MESSAGE_ID", message, boot_id)):
                unit = entry.fields.get("UNIT", "")
                if re.fullmatch(_UNIT_NAME, unit):
                    found.append(Trouble(unit, "", path))
        for level in GRAVE:
            for entry in _some(journal.entries("PRIORITY", level, boot_id)):
                text = entry.fields.get("MESSAGE", "")[:LINE]
                if entry.fields.get("_TRANSPORT") == "kernel" and _KERNEL.search(text):
                    found.append(Trouble("", text, path))
    return True, found


def _some(entries: Iterator[Entry]) -> Iterator[Entry]:
    for _, entry in zip(range(ENTRY_COUNT), entries, strict=False):
        yield entry


def _lines(files: Files, path: str) -> list[tuple[int, str]]:
    """The lines of the last boot in a text log, with their numbers; 0 where the log is too long to count."""
    node = files.find(path)
    if node is None or not files.is_file(path):
        return []
    start = max(0, node.size - TAIL)
    lines = node.read(start, TAIL).decode("utf-8", "replace").splitlines()
    begin = max((n for n, line in enumerate(lines) if BOOT_BEGINS in line[:LINE]), default=0)
    return [(0 if start else n, line[:LINE]) for n, line in enumerate(lines, 1) if n > begin]


def _of_texts(files: Files) -> Iterator[Trouble]:
    for path in (*SYSLOGS, KERNEL_LOG):
        for number, line in _lines(files, path):
            where = f"{path}:{number}" if number else path
            unit = _UNIT_LINE.search(line)
            if unit is not None:
                yield Trouble(unit[1] or unit[2], "", where)
            elif (path == KERNEL_LOG or "kernel:" in line) and (found := _KERNEL.search(line)):
                yield Trouble("", line[found.start() :], where)
    for number, line in _lines(files, CLOUD_INIT_LOG):
        if _CLOUD_INIT.search(line):
            yield Trouble("", "cloud-init logged an error", f"{CLOUD_INIT_LOG}:{number}")


def _boot_log(facts: Facts) -> Verdict:
    files = facts.guest
    kept, found = _of_journals(files)
    kept = kept or any(files.is_file(path) for path in (*SYSLOGS, KERNEL_LOG, CLOUD_INIT_LOG))
    if not kept:
        return not_applicable("no log of a boot is kept")
    found += _of_texts(files)
    found = [one for one in found if not _NOT_MEANT.search(one.unit or one.what)]
    units = list(dict.fromkeys(one.unit for one in found if one.unit))
    if units:
        where = next(one.where for one in found if one.unit)
        more = f" and {len(units) - SHOWN_UNITS} more" if len(units) > SHOWN_UNITS else ""
        return warned(f"units failed in the last boot: {', '.join(units[:SHOWN_UNITS])}{more}", where)
    if found:
        said = "".join(sign if sign.isprintable() else "?" for sign in found[0].what[:120])
        return warned(f"the last boot: {said}", found[0].where)
    return passed("nothing failed in the last boot that is logged")


CHECKS = (
    Check(
        "boot-log-errors",
        "nothing failed in the last boot",
        Severity.BEST,
        "what fails where the image is made fails in every VM of it",
        sources.LISA,
        has_guest,
        _boot_log,
        "look at it in the guest: systemctl --failed, journalctl -b -p err",
    ),
)
