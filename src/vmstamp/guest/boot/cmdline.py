"""Changing the kernel command line wherever a guest keeps it: what boots now and what is generated next.

A change is a function from the words of a command line to the words it is to have. It is applied to the
generated files (grub.cfg, the Boot Loader Specification's entries, GRUB's environment block, extlinux.conf,
menu.lst) and to their templates (/etc/default/grub and its drop-ins, /etc/kernel/cmdline), each as text; what
is not a command line stays as it is, byte for byte. Unified kernel images cannot be changed: they are signed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence

from vmstamp.guest.boot.entries import BLS_ENTRIES, EXTLINUX
from vmstamp.guest.boot.grub import (
    GRUB_1_MENUS,
    GRUB_CONFIGURATIONS,
    GRUB_DEFAULTS,
    TEXT_LIMIT,
    defaults_paths,
    find_environment_path,
    format_environment,
    parse_environment,
)
from vmstamp.guest.edits import Edit, Write
from vmstamp.guest.files.fs import Files

Change = Callable[[Sequence[str]], list[str]]

KERNEL_COMMAND_LINES = ("/etc/kernel/cmdline", "/usr/lib/kernel/cmdline")
_GRUB_KERNEL = re.compile(r"(\s*linux(?:efi|16)?\s+\S+)([ \t]*.*)$")
_GRUB_1_KERNEL = re.compile(r"(\s*kernel\s+\S*vmlinu\S*)([ \t]*.*)$")
_OPTIONS = re.compile(r"(\s*options)([ \t].*)$")
_APPEND = re.compile(r"(\s*append)([ \t].*)$", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"(\s*(?:export\s+)?)(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)(\+?=)(.*)$")
_REFERENCE = re.compile(r"\$\{?GRUB_CMDLINE_LINUX")


def set_words(*words: str, drop: Iterable[str] = ()) -> Change:
    """A change that drops what begins with one of `drop` and adds `words` that are absent, at the end."""
    prefixes = tuple(drop)

    def change(before: Sequence[str]) -> list[str]:
        kept = [word for word in before if not (prefixes and word.startswith(prefixes)) or word in words]
        return [*kept, *(word for word in words if word not in kept)]

    return change


def drop_words(drop: Callable[[str], bool]) -> Change:
    return lambda before: [word for word in before if not drop(word)]


def replace_words(replace: Callable[[str], str]) -> Change:
    return lambda before: [after for word in before if (after := replace(word))]


def change_command_lines(files: Files, change: Change) -> Iterator[Edit]:
    """The edits that carry `change` out in every file of the guest that has a command line."""
    yield from _defaults(files, change)
    for paths, pattern in (
        (GRUB_CONFIGURATIONS, _GRUB_KERNEL),
        (GRUB_1_MENUS, _GRUB_1_KERNEL),
        (EXTLINUX, _APPEND),
        (_bls_paths(files), _OPTIONS),
    ):
        for path in paths:
            yield from _rewrite(files, path, lambda text, p=pattern: change_lines(text, p, change))  # type: ignore[misc]
    for path in KERNEL_COMMAND_LINES:
        yield from _rewrite(files, path, lambda text: " ".join(change(text.split())) + "\n")
    yield from _environment(files, change)


def _bls_paths(files: Files) -> Iterator[str]:
    for directory in BLS_ENTRIES:
        yield from (f"{directory}/{name}" for name in files.list(directory) if name.endswith(".conf"))


def _rewrite(files: Files, path: str, change: Callable[[str], str]) -> Iterator[Edit]:
    """A Write when the change changes the file. A file that is not UTF-8 is left alone."""
    if not files.is_file(path):
        return
    before = files.read_bytes(path, TEXT_LIMIT)
    try:
        after = change(before.decode()).encode()
    except UnicodeDecodeError:
        return
    if after != before:
        yield Write(path, after)


def change_lines(text: str, pattern: re.Pattern[str], change: Change) -> str:
    """`text` with the change made in the command line of each line that the pattern knows.

    The pattern's groups are what stays and the command line. In a line whose words come from a variable
    ($kernelopts) nothing is added, for the variable's own place is changed.
    """
    lines = []
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        match = pattern.match(body)
        if match is not None:
            words = match[2].split()
            after = change(words)
            if any(word.startswith("$") and "opts" in word for word in words):
                after = [word for word in after if word in words]
            if after != words:
                line = f"{match[1]} {' '.join(after)}{line[len(body) :]}"
        lines.append(line)
    return "".join(lines)


def _environment(files: Files, change: Change) -> Iterator[Edit]:
    path = find_environment_path(files)
    if path is None:
        return
    variables = parse_environment(files.find_text(path, 64 * 1024) or "")
    if "kernelopts" not in variables:
        return
    after = " ".join(change(variables["kernelopts"].split()))
    data = format_environment({**variables, "kernelopts": after})
    if after != variables["kernelopts"] and data is not None:
        yield Write(path, data)


def _defaults(files: Files, change: Change) -> Iterator[Edit]:
    texts = {path: files.find_text(path, 256 * 1024) or "" for path in defaults_paths(files)}
    if GRUB_DEFAULTS not in texts:
        return
    for path, text in change_defaults(texts, change).items():
        if text != texts[path]:
            yield Write(path, text.encode())


def change_defaults(texts: dict[str, str], change: Change) -> dict[str, str]:
    """The files of grub-mkconfig, by path in their order, with the change in GRUB_CMDLINE_LINUX*.

    What the change drops goes from every assignment, what it adds is put into the last one of
    GRUB_CMDLINE_LINUX. A file that gives a variable by itself (`"$GRUB_CMDLINE_LINUX ..."`) adds to it.
    """
    words = _effective(texts)
    after = change(words)
    moved = _moved(words, after)
    dropped = {word for word in words if word not in after} | moved
    added = [word for word in after if word not in words or word in moved]
    last = max(
        ((index, path) for index, path in enumerate(texts) if _assigns(texts[path])),
        default=(0, GRUB_DEFAULTS),
    )[1]
    return {
        path: _change_assignments(text, dropped, added if path == last else [])
        for path, text in texts.items()
    }


def _moved(before: list[str], after: list[str]) -> set[str]:
    """The words that a change puts behind others: they are taken out, and added at the end."""
    kept = [word for word in before if word in after]
    rest = [word for word in after if word in before]
    moved: set[str] = set()
    while kept != rest and rest:
        moved.add(rest[-1])
        kept = [word for word in kept if word not in moved]
        rest = [word for word in rest if word not in moved]
    return moved


def _assigns(text: str) -> bool:
    matches = (_ASSIGNMENT.match(line) for line in text.splitlines())
    return any(match is not None and match[2] == "GRUB_CMDLINE_LINUX" for match in matches)


def _effective(texts: dict[str, str]) -> list[str]:
    """The words that an entry gets: GRUB_CMDLINE_LINUX, then GRUB_CMDLINE_LINUX_DEFAULT."""
    values: dict[str, list[str]] = {}
    for text in texts.values():
        for line in text.splitlines():
            match = _ASSIGNMENT.match(line)
            words = _words(match[4]) if match else None
            if match is None or words is None:
                continue
            adds = match[3] == "+=" or any(_REFERENCE.match(word) for word in words)
            own = [word for word in words if not _REFERENCE.match(word)]
            values[match[2]] = [*(values.get(match[2], []) if adds else []), *own]
    return [*values.get("GRUB_CMDLINE_LINUX", []), *values.get("GRUB_CMDLINE_LINUX_DEFAULT", [])]


def _words(value: str) -> list[str] | None:
    """The words of a shell's value; None when a shell would not read it."""
    try:
        return " ".join(shlex.split(value, comments=True)).split()
    except ValueError:
        return None


def _change_assignments(text: str, dropped: set[str], added: list[str]) -> str:
    lines = text.splitlines(keepends=True)
    places = [index for index, line in enumerate(lines) if _ASSIGNMENT.match(line.rstrip("\n"))]
    target = max(
        (i for i in places if (m := _ASSIGNMENT.match(lines[i])) and m[2] == "GRUB_CMDLINE_LINUX"),
        default=None,
    )
    for index in places:
        match = _ASSIGNMENT.match(lines[index].rstrip("\n"))
        words = _words(match[4]) if match else None
        if match is None or words is None:
            continue
        after = [word for word in words if word not in dropped]
        after += [word for word in added if index == target and word not in after]
        if after != words:
            lines[index] = f"{match[1]}{match[2]}{match[3]}{quote(' '.join(after))}\n"
    if target is None and added:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += "\n"
        lines.append(f"GRUB_CMDLINE_LINUX={quote(' '.join(added))}\n")
    return "".join(lines)


def quote(value: str) -> str:
    """In double quotes, as the file has it; `$` keeps its meaning."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
