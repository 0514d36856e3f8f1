"""Whether a program is installed and a systemd unit will be started. Spec: systemd.unit(5)."""

from __future__ import annotations

import re

from vmstamp.guest.fs import Files

UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def find_unit(files: Files, unit: str) -> str | None:
    """The path of the unit's file, the administrator's first; None when it is absent."""
    return next((p for d in UNIT_DIRECTORIES if files.find(p := f"{d}/{unit}", follow=False)), None)


def is_masked(files: Files, unit: str) -> bool:
    """The unit is a link to /dev/null, so nothing starts it."""
    return any(files.readlink(f"{directory}/{unit}") == "/dev/null" for directory in UNIT_DIRECTORIES)


def is_enabled(files: Files, unit: str) -> bool:
    """Some target wants or requires the unit, or an alias names it; a masked unit is not enabled.

    Units that a generator starts are not seen here.
    """
    if is_masked(files, unit) or find_unit(files, unit) is None:
        return False
    return any(
        files.find(f"{directory}/{name}/{unit}", follow=False)
        for directory in UNIT_DIRECTORIES
        for name in files.list(directory)
        if name.endswith((".wants", ".requires"))
    )


def find_package_version(files: Files, package: str) -> str:
    """The version of an installed Debian package by dpkg's database; '' when it is not there.

    Spec: dpkg's /var/lib/dpkg/status, deb-control(5) paragraphs.
    """
    text = files.find_text("/var/lib/dpkg/status") or ""
    found = re.search(rf"^Package: {re.escape(package)}\n(?:.+\n?)*", text, re.MULTILINE)
    if found is None:
        return ""
    paragraph = found[0]
    fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
    return fields.get("Version", "") if fields.get("Status", "").endswith(" installed") else ""
