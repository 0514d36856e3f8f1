"""A login at the serial console, by each init: a guest that has it, one that lacks it, and what mends it."""

from __future__ import annotations

from typing import Any

import pytest

from vmstamp.guest.checks import CHECKS
from vmstamp.guest.edits import Edit, Remove, Write
from vmstamp.guest.finding import Finding, judge
from vmstamp.guest.overlay import Overlay, lay_over

CHECK = next(check for check in CHECKS if check.id == "getty-serial")
SYSTEMD = "/usr/lib/systemd/systemd"
AGETTY = {"/sbin/agetty": "ELF"}
INITTAB = "/etc/inittab"
RUN_LEVELS = "id:2:initdefault:\n1:2345:respawn:/sbin/getty 38400 tty1\n"
SYSV: dict[str, Any] = {SYSTEMD: None, **AGETTY}
UPSTART: dict[str, Any] = {
    SYSTEMD: None,
    **AGETTY,
    "/sbin/initctl": "ELF",
    "/etc/init/tty1.conf": "exec getty tty1\n",
}
JOB = "start on stopped rc RUNLEVEL=[2345]\nrespawn\nexec /sbin/getty -L 115200 ttyS0 vt102\n"
RED_HAT = (
    "start on fedora.serial-console-available DEV=* and stopped rc\nexec /sbin/agetty /dev/$DEV $SPEED\n"
)


def judged(guests: Any, changes: dict[str, Any]) -> Finding:
    return judge(CHECK, guests.facts(changes))


def fixes(guests: Any, changes: dict[str, Any]) -> list[Edit]:
    assert CHECK.fix is not None
    return list(CHECK.fix(guests.facts(changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {**SYSV, INITTAB: RUN_LEVELS + "T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n"},
        {**SYSV, INITTAB: "co:2345:respawn:/sbin/agetty 115200 /dev/ttyS0\n"},
        {**SYSV, INITTAB: "ttyS0::askfirst:/sbin/getty -L ttyS0 115200 vt100\n"},
        {**UPSTART, "/etc/init/ttyS0.conf": JOB},
        {**UPSTART, "/etc/init/serial.conf": RED_HAT},
        {**UPSTART, "/etc/init/ttyS0.conf": JOB, "/etc/init/ttyS0.override": "manual\nstart on startup\n"},
        {SYSTEMD: None},
    ],
)
def test_a_login_on_the_serial_line_passes(guests: Any, changes: dict[str, Any]) -> None:
    assert judged(guests, changes).status == "pass"


LACKING: list[tuple[str, dict[str, Any]]] = [
    (INITTAB, {**SYSV, INITTAB: RUN_LEVELS}),
    (INITTAB, {**SYSV, INITTAB: RUN_LEVELS + "#T0:23:respawn:/sbin/getty -L ttyS0 9600 vt100\n"}),
    (INITTAB, {**SYSV, INITTAB: RUN_LEVELS + "T0:23:off:/sbin/getty -L ttyS0 9600 vt100\n"}),
    (INITTAB, {**SYSV, INITTAB: RUN_LEVELS + "T0:23:respawn:/sbin/getty -L ttyS01 9600 vt100\n"}),
    (INITTAB, {**SYSV, INITTAB: RUN_LEVELS, "/sbin/init": "-> /bin/busybox"}),
    ("/etc/init", UPSTART),
    ("/etc/init", {**UPSTART, "/etc/init/x.conf": "# exec /sbin/getty ttyS0\n"}),
    (
        "/etc/init/ttyS0.override",
        {**UPSTART, "/etc/init/ttyS0.conf": JOB, "/etc/init/ttyS0.override": "manual\n"},
    ),
    ("/etc/init/ttyS0.conf", {**UPSTART, "/etc/init/ttyS0.conf": f"{JOB}manual\n"}),
]


@pytest.mark.parametrize(("where", "changes"), LACKING)
def test_a_guest_without_a_login_is_told_and_mended(guests: Any, where: str, changes: dict[str, Any]) -> None:
    facts = guests.facts(changes)
    found = judge(CHECK, facts)
    assert (found.status, found.where) == ("warning", where)
    overlay = Overlay(facts.files)
    overlay.apply(fixes(guests, changes))
    assert judge(CHECK, lay_over(facts, overlay)).status == "pass"


def test_a_line_is_added_behind_those_that_are_there(guests: Any) -> None:
    changes = {**SYSV, INITTAB: RUN_LEVELS + "S0:1:wait:/bin/true"}
    text = f"{changes[INITTAB]}\nAZ:2345:respawn:/sbin/agetty -L 115200 ttyS0 vt100\n"
    assert fixes(guests, changes) == [Write(INITTAB, text.encode())]
    busybox = {
        SYSTEMD: None,
        INITTAB: "tty1::respawn:/sbin/getty 38400 tty1\n",
        "/bin/busybox": "ELF",
        **dict.fromkeys(("/sbin/getty", "/sbin/init"), "-> /bin/busybox"),
    }
    [edit] = fixes(guests, busybox)
    assert isinstance(edit, Write)
    assert edit.data.endswith(b"\nttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100\n")


def test_only_an_override_that_keeps_a_job_back_is_removed(guests: Any) -> None:
    changes = {**UPSTART, "/etc/init/ttyS0.conf": JOB, "/etc/init/ttyS0.override": "manual\n"}
    assert fixes(guests, changes) == [Remove("/etc/init/ttyS0.override")]
    assert fixes(guests, {**UPSTART, "/etc/init/ttyS0.conf": JOB}) == []


def test_nothing_is_written_where_there_is_no_getty(guests: Any) -> None:
    assert fixes(guests, {SYSTEMD: None, INITTAB: RUN_LEVELS}) == []
