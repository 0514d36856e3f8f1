"""Which services a guest starts at boot: systemd units, upstart jobs, System V and OpenRC links.

Spec: systemd.unit(5), systemctl(1) is-enabled; upstart init(5), `manual`; LSB init script links; OpenRC
runlevels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from vmstamp.guest.files.fs import Files
from vmstamp.guest.packages import find_package_version as find_package_version

# The administrator's first: the first that has a unit of the name decides.
UNIT_DIRECTORIES = (
    "/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
)  # fmt: skip
RUN_LEVELS = tuple(
    f"{base}/rc{level}.d" for base in ("/etc", "/etc/rc.d", "/etc/init.d") for level in (2, 3, 5)
)
UNIT_LIMIT = 256 * 1024  # bytes of one unit
DROP_IN_COUNT = 200  # drop-ins of one unit that are read


def find_unit(files: Files, unit: str) -> str | None:
    """The path of the unit's file, the administrator's first; None when it is absent."""
    return next((p for d in UNIT_DIRECTORIES if files.find(p := f"{d}/{unit}", follow=False)), None)


def is_masked(files: Files, unit: str) -> bool:
    """The unit that decides is a link to /dev/null, so nothing starts it."""
    path = find_unit(files, unit)
    return path is not None and files.readlink(path) == "/dev/null"


def is_enabled(files: Files, unit: str) -> bool:
    """Some target wants or requires the unit; a masked unit is not enabled.

    Units that a generator starts are not seen here.
    """
    if unit not in _index(files).wanted:
        return False
    return find_unit(files, unit) is not None and not is_masked(files, unit)


@dataclass(frozen=True)
class _Index:
    """What starts on a guest, by name: wanted units, start links of System V init, upstart's jobs."""

    wanted: frozenset[str]
    links: Mapping[str, str]
    jobs: frozenset[str]


# Every check of a service asks, and the answer takes some hundred directories. A guest's files do not change
# while they are read.
_INDEXES: WeakKeyDictionary[Files, _Index] = WeakKeyDictionary()


def _index(files: Files) -> _Index:
    if files not in _INDEXES:
        links = {
            found[1]: f"{directory}/{link}"
            for directory in RUN_LEVELS
            for link in files.list(directory)
            if (found := re.fullmatch(r"S\d\d(.+)", link))
        }
        jobs = files.list("/etc/init") if files.exists("/sbin/initctl") else []
        _INDEXES[files] = _Index(frozenset(_wanted_units(files)), links, frozenset(jobs))
    return _INDEXES[files]


def _wanted_units(files: Files) -> Iterator[str]:
    """The units that some target or service wants or requires."""
    for directory in UNIT_DIRECTORIES:
        if directory == "/lib/systemd/system" and files.readlink("/lib") is not None:
            continue
        for name in files.list(directory):
            if name.endswith((".wants", ".requires")):
                yield from files.list(f"{directory}/{name}")


def find_enabled(files: Files, *units: str) -> str | None:
    """The first of the units that is enabled; None when none is."""
    return next((unit for unit in units if is_enabled(files, unit)), None)


def starts_at_boot(files: Files, *names: str) -> str | None:
    """What starts the first of the services (by name, without suffix) at boot; None when nothing does.

    A systemd service or socket of the name, an upstart job that is not `manual`, a start link of System V
    init, or one of OpenRC.
    """
    for name in names:
        if unit := find_enabled(files, f"{name}.service", f"{name}.socket"):
            return unit
        if _upstart_starts(files, name):
            return f"/etc/init/{name}.conf"
        link = _index(files).links.get(name) or _openrc_link(files, name)
        if link and not is_masked(files, f"{name}.service"):
            return link
    return None


def _upstart_starts(files: Files, name: str) -> bool:
    if f"{name}.conf" not in _index(files).jobs:
        return False
    job = files.find_text(f"/etc/init/{name}.conf", UNIT_LIMIT) or ""
    override = files.find_text(f"/etc/init/{name}.override", UNIT_LIMIT) or ""
    return "start on" in job and not re.search(r"^[ \t]*manual\b", job + "\n" + override, re.MULTILINE)


def _openrc_link(files: Files, name: str) -> str | None:
    links = (f"/etc/runlevels/{level}/{name}" for level in ("sysinit", "boot", "default"))
    return next((link for link in links if files.find(link, follow=False)), None)


def has_systemd(files: Files) -> bool:
    return any(files.exists(path) for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd"))


def read_unit(files: Files, unit: str) -> list[tuple[str, str, str]]:
    """The settings of a unit with its drop-ins, in order: (section, name, value); [] when it is absent.

    Continued lines are joined; an empty value, which resets a list, is kept.
    """
    path = find_unit(files, unit)
    if path is None or is_masked(files, unit):
        return []
    settings = parse_unit(files.find_text(path, UNIT_LIMIT) or "")
    drop_ins = {
        name: f"{directory}/{unit}.d/{name}"
        for directory in reversed(UNIT_DIRECTORIES)
        for name in files.list(f"{directory}/{unit}.d")
        if name.endswith(".conf")
    }
    for name in sorted(drop_ins)[:DROP_IN_COUNT]:
        settings += parse_unit(files.find_text(drop_ins[name], UNIT_LIMIT) or "")
    return settings


def parse_unit(text: str) -> list[tuple[str, str, str]]:
    """(section, name, value) of systemd's own format. Spec: systemd.syntax(7)."""
    settings: list[tuple[str, str, str]] = []
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        name, equals, value = line.partition("=")
        if equals:
            settings.append((section, name.strip(), value.strip()))
    return settings


def unit_values(settings: list[tuple[str, str, str]], name: str) -> list[str]:
    """The values of a list setting: an empty one drops what stands before it."""
    values: list[str] = []
    for _, key, value in settings:
        if key == name:
            values = [*values, value] if value else []
    return values
