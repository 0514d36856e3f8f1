"""The SSH server on a guest: its program, units, host keys and configuration.

Spec: sshd_config(5): the first value of a keyword wins, Include files are read where they stand, and lines
after a Match are only for those who match.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.edits import Write
from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.globs import expand
from vmstamp.guest.packages import find_program
from vmstamp.guest.services import UNIT_DIRECTORIES, find_unit, read_unit, unit_values

PROGRAMS = ("/usr/sbin/sshd", "/usr/bin/sshd")
UNITS = ("ssh.service", "sshd.service", "ssh.socket", "sshd.socket")
SSH_DIRECTORY = "/etc/ssh"
CONFIGURATIONS = ("/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config")  # SUSE: the vendor's below /usr/etc
DROP_INS = "/etc/ssh/sshd_config.d"
KEY_DROP_IN = "10-host-keys.conf"

FILE_LIMIT = 256 * 1024  # bytes of one file
FILE_COUNT = 200
INCLUDE_DEPTH = 16  # as OpenSSH's SERVCONF_MAX_DEPTH


@dataclass(frozen=True)
class Setting:
    """One line: the keyword in lower case, its arguments, where it stands; `match`: below which Match."""

    keyword: str
    value: str
    path: str
    line: int
    match: str = ""

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Sshd:
    """The configuration: `path` its main file ('' : none), and every line in the order sshd reads them."""

    path: str
    settings: tuple[Setting, ...]
    errors: tuple[str, ...] = ()

    def all(self, keyword: str) -> list[Setting]:
        """The lines of a keyword that are for everybody."""
        return [one for one in self.settings if one.keyword == keyword and not one.match]

    def find(self, keyword: str) -> Setting | None:
        """The line that decides for everybody; None: sshd's default."""
        return next(iter(self.all(keyword)), None)


def read_sshd(files: Files) -> Sshd:
    path = next((path for path in CONFIGURATIONS if files.is_file(path)), "")
    if not path:
        return Sshd("", ())
    reader = _Reader(files)
    settings = tuple(reader.read(path, 0, ""))
    return Sshd(path, settings, tuple(reader.errors))


class _Reader:
    def __init__(self, files: Files) -> None:
        self._files = files
        self._left = FILE_COUNT
        self.errors: list[str] = []

    def read(self, path: str, depth: int, match: str) -> Iterator[Setting]:
        """A Match ends with its file; in an included file it starts from the includer's."""
        self._left -= 1
        if depth > INCLUDE_DEPTH or self._left < 0:
            self.errors.append(f"{path}: too many includes")
            return
        for number, line in enumerate((self._files.find_text(path, FILE_LIMIT) or "").splitlines(), 1):
            keyword, value = _split(line)
            if not keyword:
                continue
            if keyword == "include":
                for pattern in _words(value):
                    absolute = pattern if pattern.startswith("/") else f"{SSH_DIRECTORY}/{pattern}"
                    for found in expand(self._files, absolute):
                        yield from self.read(found, depth + 1, match)
                continue
            if keyword == "match":
                match = "" if value.strip().lower() == "all" else value
                continue
            if not value:
                self.errors.append(f"{path}:{number}: {keyword[:40]} has no argument")
                continue
            yield Setting(keyword, value, path, number, match)


def _split(line: str) -> tuple[str, str]:
    """Keyword in lower case and its arguments; a `=` may stand between them."""
    line = line.strip()
    if not line or line.startswith("#"):
        return "", ""
    keyword, _, rest = line.replace("=", " ", 1).partition(" ") if "=" in line.split()[0] else _parted(line)
    return keyword.lower(), rest.strip().removeprefix("=").split(" #", 1)[0].strip()


def _parted(line: str) -> tuple[str, str, str]:
    words = line.split(None, 1)
    return words[0], " ", words[1] if len(words) > 1 else ""


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


def has_ssh_server(files: Files) -> bool:
    return any(files.exists(path) for path in PROGRAMS)


def host_keys(files: Files) -> list[str]:
    """The private host keys' paths."""
    names = files.list(SSH_DIRECTORY)
    return [f"{SSH_DIRECTORY}/{n}" for n in names if n.startswith("ssh_host_") and n.endswith("_key")]


def find_key_maker(files: Files) -> str | None:
    """The unit or drop-in that runs ssh-keygen before sshd: Red Hat's sshd-keygen, or one by hand."""
    return next((path for path in _unit_files(files) if _makes_keys(files, path)), None)


def _unit_files(files: Files) -> Iterator[str]:
    for directory in UNIT_DIRECTORIES:
        for name in files.list(directory):
            path = f"{directory}/{name}"
            if name in ("ssh.service.d", "sshd.service.d"):
                yield from (f"{path}/{drop_in}" for drop_in in files.list(path))
            elif name in ("ssh.service", "sshd.service") or name.startswith("sshd-keygen"):
                yield path


def _makes_keys(files: Files, path: str) -> bool:
    if path.rsplit("/", 1)[-1].startswith("sshd-keygen"):
        return path.endswith((".service", ".target"))
    text = files.find_text(path, 64 * 1024) or ""
    return "ssh-keygen" in text or "sshd-gen-keys-start" in text  # the latter SUSE's


def host_key_drop_in(files: Files) -> Write | None:
    """ssh-keygen -A as the first of what sshd's unit starts; None when there is no such unit or program.

    The unit's own ExecStartPre lines (Debian: a test of the configuration, which needs the keys) are said
    again behind it, for the empty one clears the list. Spec: systemd.service(5), systemd.unit(5).
    """
    unit = next((unit for unit in UNITS if unit.endswith(".service") and find_unit(files, unit)), None)
    maker = find_program(files, "ssh-keygen")
    if unit is None or maker is None:
        return None
    own = unit_values(read_unit(files, unit), "ExecStartPre")
    lines = ["[Service]", "ExecStartPre=", *(f"ExecStartPre={command}" for command in (f"{maker} -A", *own))]
    return Write(f"/etc/systemd/system/{unit}.d/{KEY_DROP_IN}", ("\n".join(lines) + "\n").encode())
