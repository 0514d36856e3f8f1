"""Debian's ifupdown: /etc/network/interfaces. Spec: interfaces(5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.globs import expand
from vmstamp.guest.network.interface import FILE_COUNT, FILE_LIMIT, Interface

INTERFACES = "/etc/network/interfaces"
TOOL = "ifupdown"

# The only file names that `source-directory` takes.
_DIRECTORY_NAME = re.compile(r"[a-zA-Z0-9_-]+$")


@dataclass
class _Stanza:
    """An `iface` line and the options below it."""

    where: str
    name: str
    family: str
    method: str
    options: dict[str, str] = field(default_factory=dict)


def read_ifupdown(files: Files) -> tuple[Interface, ...]:
    """The stanzas for IPv4 of interfaces other than lo, with those of sourced files."""
    stanzas: list[_Stanza] = []
    automatic: set[str] = set()
    for where, words in _lines(files, INTERFACES, set()):
        if words[0] == "iface" and len(words) >= 4:
            stanzas.append(_Stanza(where, words[1], words[2], words[3]))
        elif words[0] == "auto" or words[0].startswith("allow-"):
            automatic.update(words[1:])
        elif words[0] in ("mapping", "iface", "no-auto-down", "no-scripts", "rename"):
            continue
        elif stanzas:
            stanzas[-1].options.setdefault(words[0].replace("_", "-"), " ".join(words[1:]))
    return tuple(_interface(s, automatic) for s in stanzas if s.family == "inet" and s.name != "lo")


def _interface(stanza: _Stanza, automatic: set[str]) -> Interface:
    ports = stanza.options.get("bridge-ports") or stanza.options.get("bond-slaves") or ""
    hardware = stanza.options.get("hwaddress", "").split()[-1:]
    patterns = [name.strip("/") for name in automatic if name.startswith("/")]
    return Interface(
        TOOL,
        stanza.where,
        names=(stanza.name, *ports.split()),
        macs=tuple(mac for mac in hardware if ":" in mac),
        dhcp4=stanza.method == "dhcp",
        addresses=tuple(v for k, v in stanza.options.items() if k in ("address", "gateway") and v),
        automatic=stanza.name in automatic or bool(patterns),
    )


def _lines(files: Files, path: str, seen: set[str]) -> Iterator[tuple[str, list[str]]]:
    """(path:line, words) of a file and of those it sources, each file once."""
    if path in seen or len(seen) >= FILE_COUNT or not files.is_file(path):
        return
    seen.add(path)
    text = files.find_text(path, FILE_LIMIT) or ""
    for number, line in _logical_lines(text):
        words = line.split()
        if words[0] == "source":
            for pattern in words[1:]:
                for found in expand(files, _absolute(pattern, path)):
                    yield from _lines(files, found, seen)
        elif words[0] == "source-directory":
            for pattern in words[1:]:
                for directory in expand(files, _absolute(pattern, path)):
                    for name in files.list(directory):
                        if _DIRECTORY_NAME.match(name):
                            yield from _lines(files, f"{directory}/{name}", seen)
        else:
            yield f"{path}:{number}", words


def _absolute(pattern: str, path: str) -> str:
    """A relative pattern starts at the directory of the file that names it."""
    return pattern if pattern.startswith("/") else f"{path.rsplit('/', 1)[0]}/{pattern}"


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with continued ones joined; comments and empty lines left out; counted from 1."""
    waiting, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not waiting:
            start = number
            if line.lstrip().startswith("#"):
                continue
        if line.endswith("\\"):
            waiting += line[:-1] + " "
            continue
        joined, waiting = waiting + line, ""
        if joined.strip():
            yield start, joined
    if waiting.strip():
        yield start, waiting
