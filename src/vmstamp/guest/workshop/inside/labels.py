"""The SELinux context that a guest's policy gives a path, by its file_contexts. Source: selinux_config(5),
selabel_file(5): the last expression that matches the whole path wins, one without wild cards before all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

CONFIG = "/etc/selinux/config"
CONTEXTS = "/etc/selinux/{}/contexts/files/file_contexts"
SUFFIXES = ("", ".homedirs", ".local")  # later ones win
MAX_FILE = 8 * 1024 * 1024

# The file type field, and what st_mode has for it.
TYPES = {"--": 0o100000, "-d": 0o040000, "-l": 0o120000, "-c": 0o020000, "-b": 0o060000, "-p": 0o010000,
         "-s": 0o140000}  # fmt: skip
_META = re.compile(r"[.^$?*+|\[({\\]")
_TYPE = re.compile(r"^\s*SELINUXTYPE\s*=\s*([A-Za-z0-9_.-]+)", re.MULTILINE)

Read = Callable[[str], "str | None"]  # a guest's text file; None: it has none


class Contexts:
    """The lines of file_contexts whose expression may match; no expression is compiled before it is asked."""

    def __init__(self, lines: Iterable[str], aliases: Iterable[str] = ()) -> None:
        self._specs = [spec for line in lines if (spec := parse_line(line)) is not None]
        self._aliases = [(pair[0], pair[1]) for line in aliases if len(pair := line.split()) == 2]

    def find(self, path: str, kind: int) -> str | None:
        """The context of `path`, a file of the type `kind` (as in st_mode); None for `<<none>>`."""
        for alias, other in self._aliases:
            if path == alias or path.startswith(alias + "/"):
                path = other + path[len(alias) :]
                break
        best: str | None = None
        for stem, pattern, wanted, context in self._specs:
            if wanted not in (None, kind) or not path.startswith(stem):
                continue
            if pattern == stem:
                if path == stem:
                    return None if context == "<<none>>" else context
            elif matches(pattern, path):
                best = context
        return None if best == "<<none>>" else best


def parse_line(line: str) -> tuple[str, str, int | None, str] | None:
    """(the part before any wild card, expression, file type, context), None for what is no entry."""
    fields = line.split()
    if len(fields) not in (2, 3) or fields[0].startswith("#"):
        return None
    if len(fields) == 3 and fields[1] not in TYPES:
        return None
    pattern = fields[0]
    found = _META.search(pattern)
    if found is None:
        return pattern, pattern, TYPES.get(fields[1]), fields[-1]
    end = found.start()
    if found[0] in "?*{|":
        end = 0 if "|" in pattern else max(end - 1, 0)  # what stands before it may be absent
    return pattern[:end] if "|" not in pattern else "", pattern, TYPES.get(fields[1]), fields[-1]


def matches(pattern: str, path: str) -> bool:
    try:
        return re.fullmatch(pattern, path, re.DOTALL) is not None
    except (re.error, RecursionError, OverflowError):  # PCRE has words that Python has not
        return False


def load(read: Read) -> Contexts | None:
    """The contexts of the guest's policy; None when it has no SELinux."""
    found = _TYPE.search(read(CONFIG) or "")
    if found is None:
        return None
    base = CONTEXTS.format(found[1])
    texts = [read(base + suffix) for suffix in SUFFIXES]
    if texts[0] is None:
        return None
    lines = [line for text in texts if text for line in text.splitlines()]
    aliases = [read(base + suffix) or "" for suffix in (".subs", ".subs_dist")]
    return Contexts(lines, "\n".join(aliases).splitlines())
