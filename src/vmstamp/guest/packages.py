"""The packages and programs on a guest: dpkg's database, and programs by their usual places.

The RPM database is not read: its formats (Berkeley DB, NDB, SQLite with binary headers) say nothing that the
checks need beyond the presence of a file, which `find_program` answers for every family.

Spec: dpkg's /var/lib/dpkg/status, deb-control(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from weakref import WeakKeyDictionary

from vmstamp.guest.files.fs import Files

DPKG_STATUS = "/var/lib/dpkg/status"
STATUS_LIMIT = 16 * 1024 * 1024  # bytes; a full desktop has 4 MiB

PROGRAM_DIRECTORIES = (
    "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin",
)  # fmt: skip

_FIELD = re.compile(r"^(Package|Status|Version): *(.*)$", re.MULTILINE)


def find_packages(files: Files) -> Mapping[str, str]:
    """The versions of the installed Debian packages by name; {} on other systems."""
    text = files.find_text(DPKG_STATUS, STATUS_LIMIT) or ""
    return dict(_installed(text))


def _installed(text: str) -> Iterator[tuple[str, str]]:
    """Name and version of each paragraph whose status ends in `installed`."""
    fields: dict[str, str] = {}
    for match in _FIELD.finditer(text):
        if match[1] == "Package":
            yield from _named(fields)
            fields = {}
        fields[match[1]] = match[2].strip()
    yield from _named(fields)


def _named(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if fields.get("Status", "").endswith(" installed"):
        yield fields["Package"], fields.get("Version", "")


def find_package_version(files: Files, package: str) -> str:
    """The version of an installed Debian package by dpkg's database; '' when it is not there."""
    text = files.find_text(DPKG_STATUS, STATUS_LIMIT) or ""
    found = re.search(rf"^Package: {re.escape(package)}\n(?:.+\n?)*", text, re.MULTILINE)
    return dict(_installed(found[0])).get(package, "") if found else ""


# The checks ask for dozens of programs. A guest's files do not change while they are read.
_PROGRAMS: WeakKeyDictionary[Files, Mapping[str, str]] = WeakKeyDictionary()


def find_program(files: Files, *names: str) -> str | None:
    """The path of the first of the programs that is there, in the directories of root's PATH."""
    if files not in _PROGRAMS:
        _PROGRAMS[files] = {
            name: f"{directory}/{name}"
            for directory in reversed(PROGRAM_DIRECTORIES)
            if files.readlink(directory) is None
            for name in files.list(directory)
        }
    return next((path for path in map(_PROGRAMS[files].get, names) if path), None)


def find_python(files: Files) -> tuple[int, int] | None:
    """Major and minor version of the guest's python3; None when it has none.

    The link /usr/bin/python3 says it; where that is no link to a version, the newest program does.
    """
    for path in ("/usr/bin/python3", "/usr/libexec/platform-python"):
        if version := _python_version((files.readlink(path) or "").rsplit("/", 1)[-1]):
            return version
    versions = [_python_version(name) for name in files.list("/usr/bin") if name.startswith("python3")]
    return max((version for version in versions if version), default=None)


def _python_version(name: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(?:platform-)?python(\d)\.(\d{1,3})", name)
    return (int(found[1]), int(found[2])) if found else None


def python_directories(files: Files) -> Iterator[str]:
    """Where modules that packages install lie, of every Python on the guest."""
    for library in ("/usr/lib", "/usr/lib64"):
        yield f"{library}/python3/dist-packages"
        for name in files.list(library):
            if re.fullmatch(r"python[23]\.\d+", name):
                yield f"{library}/{name}/site-packages"


def find_python_module(files: Files, module: str) -> str | None:
    """The path of a Python module or package, of packages or of the standard library; None when absent."""
    for directory in (*python_directories(files), *_standard_libraries(files)):
        for path in (f"{directory}/{module}.py", f"{directory}/{module}"):
            if files.exists(path):
                return path
    return None


def _standard_libraries(files: Files) -> Iterator[str]:
    for library in ("/usr/lib", "/usr/lib64"):
        for name in files.list(library):
            if re.fullmatch(r"python3\.\d+", name):
                yield f"{library}/{name}"
