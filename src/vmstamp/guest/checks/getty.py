"""The check of the login at the serial console: systemd's units, upstart's jobs, the inittab of older inits.

systemd starts a login wherever the kernel has its console, unless the unit is masked. upstart, and the inits
that read /etc/inittab (System V's, busybox's), start one only where they are told to.
Spec: systemd-getty-generator(8); init(5) of upstart, `manual` in an override; inittab(5); busybox init.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.edits import Edit, Remove, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import Files
from vmstamp.guest.finding import Check, Severity, Verdict, passed, warned
from vmstamp.guest.services import has_systemd, is_masked

TERMINALS = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
UNIT_DIRECTORY = "/etc/systemd/system"
TEMPLATE_UNIT = "serial-getty@.service"
UPSTART, JOBS = "/sbin/initctl", "/etc/init"
RED_HAT_JOB = f"{JOBS}/serial.conf"  # starts a login on whatever serial line is the console
INITTAB = "/etc/inittab"
LIMIT = 64 * 1024  # bytes of a file
MAX_JOBS = 500
RUN_LEVEL, IDENTIFIERS = "2345", ("S0", "AZ", "az0", "az1")


def _terminal(facts: Facts) -> str:
    return TERMINALS.get(facts.architecture or "x86_64", TERMINALS["x86_64"])


def _units(facts: Facts) -> tuple[str, str]:
    return f"serial-getty@{_terminal(facts)}.service", TEMPLATE_UNIT


def _getty(facts: Facts) -> Verdict:
    files, terminal = facts.guest, _terminal(facts)
    for name in _units(facts):
        if is_masked(files, name):
            return warned(f"{name} is masked: nobody can log in at the serial console", _mask(files, name))
    if has_systemd(files):
        return passed("a login at the serial console is not prevented")
    if _has_upstart(files):
        return _judge_jobs(files, terminal)
    text = files.find_text(INITTAB, LIMIT)
    if text is None:
        return passed("a login at the serial console is not prevented")
    line = _inittab_line(text, terminal)
    if line:
        return passed(f"a login on {terminal}", f"{INITTAB}:{line}")
    return warned(f"no line starts a login on {terminal}", INITTAB)


def _mask(files: Files, unit: str) -> str:
    path = f"{UNIT_DIRECTORY}/{unit}"
    return path if files.readlink(path) == "/dev/null" else f"/usr/lib/systemd/system/{unit}"


def _has_upstart(files: Files) -> bool:
    return files.exists(UPSTART) and files.is_directory(JOBS)


def _judge_jobs(files: Files, terminal: str) -> Verdict:
    found = next((path for path in _jobs(files) if _starts_login(files, path, terminal)), None)
    if found is None:
        return warned(f"no job of upstart starts a login on {terminal}", JOBS)
    override = f"{found.removesuffix('.conf')}.override"
    if _is_manual(files, override) or _is_manual(files, found):
        path = override if _is_manual(files, override) else found
        return warned(f"the job that starts a login on {terminal} is started by hand only", path)
    return passed(f"a login on {terminal}", found)


def _jobs(files: Files) -> Iterator[str]:
    names = sorted(name for name in files.list(JOBS) if name.endswith(".conf"))[:MAX_JOBS]
    return (f"{JOBS}/{name}" for name in names)


def _starts_login(files: Files, path: str, terminal: str) -> bool:
    text = files.find_text(path, LIMIT) or ""
    if not re.search(r"^[ \t]*exec\b.*getty", text, re.MULTILINE):
        return False
    return path == RED_HAT_JOB or re.search(rf"^[ \t]*exec\b.*\b{terminal}\b", text, re.MULTILINE) is not None


def _is_manual(files: Files, path: str) -> bool:
    """Whether the last word on when the job starts is `manual`."""
    words = [line.split() for line in (files.find_text(path, LIMIT) or "").splitlines()]
    told = [line for line in words if line[:1] == ["manual"] or line[:2] == ["start", "on"]]
    return bool(told) and told[-1][0] == "manual"


def _inittab_line(text: str, terminal: str) -> int:
    """The number of the line that keeps a login on the terminal; 0 when there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.strip().split(":", 3)
        if line.lstrip().startswith("#") or len(fields) < 4 or fields[2] not in ("respawn", "askfirst"):
            continue
        if "getty" in fields[3] and terminal in re.split(r"[\s/]+", fields[3]):
            return number
    return 0


def _program(files: Files, terminal: str) -> str:
    """The command of a login; agetty and busybox's getty take these words in this order."""
    name = "/sbin/agetty" if files.exists("/sbin/agetty") else "/sbin/getty"
    return f"{name} -L 115200 {terminal} vt100"


def _fix_getty(facts: Facts) -> Iterator[Edit]:
    files, terminal = facts.guest, _terminal(facts)
    units = {f"serial-getty@{name}.service" for name in TERMINALS.values()}
    for name in (*sorted(units), TEMPLATE_UNIT):
        if files.readlink(f"{UNIT_DIRECTORY}/{name}") == "/dev/null":
            yield Remove(f"{UNIT_DIRECTORY}/{name}")
    if has_systemd(files) or not any(files.exists(path) for path in ("/sbin/agetty", "/sbin/getty")):
        return
    if _has_upstart(files):
        yield from _fix_jobs(files, terminal)
        return
    text = files.find_text(INITTAB, LIMIT)
    if text is not None and not _inittab_line(text, terminal):
        line = _new_line(files, text, terminal)
        yield Write(INITTAB, f"{text.rstrip(chr(10))}\n{line}\n".encode())


def _fix_jobs(files: Files, terminal: str) -> Iterator[Edit]:
    """The override that keeps a job from starting goes; where there is no job, one is made."""
    found = next((path for path in _jobs(files) if _starts_login(files, path, terminal)), None)
    override = f"{(found or '').removesuffix('.conf')}.override"
    if found and not _is_manual(files, found):
        if _is_manual(files, override):
            yield Remove(override)
        return
    job = (
        f"# Written by vmstamp doctor: a login at Azure's Serial Console.\n"
        f"start on stopped rc RUNLEVEL=[{RUN_LEVEL}]\nstop on runlevel [!{RUN_LEVEL}]\n\n"
        f"respawn\nexec {_program(files, terminal)}\n"
    )
    yield Write(f"{JOBS}/{terminal}.conf", job.encode())
    if files.exists(f"{JOBS}/{terminal}.override"):
        yield Remove(f"{JOBS}/{terminal}.override")


def _new_line(files: Files, text: str, terminal: str) -> str:
    """busybox takes the first field for the terminal and knows no run levels; System V wants it unique."""
    if "busybox" in (files.readlink("/sbin/init") or ""):
        return f"{terminal}::respawn:{_program(files, terminal)}"
    used = {line.partition(":")[0] for line in text.splitlines()}
    identifier = next((one for one in IDENTIFIERS if one not in used), IDENTIFIERS[0])
    return f"{identifier}:{RUN_LEVEL}:respawn:{_program(files, terminal)}"


CHECKS = (
    Check(
        "getty-serial",
        "one can log in at the serial console",
        Severity.BEST,
        "Azure's Serial Console shows no login",
        "Azure/ALAR serialconsole",
        has_guest,
        _getty,
        "systemctl unmask serial-getty@ttyS0.service; older inits: a getty on ttyS0 in /etc/inittab or "
        "/etc/init",
        fix=_fix_getty,
    ),
)
