"""Kernel modules of the guest: what is built in, what can be loaded, what modprobe is told about it.

Spec: Linux Documentation/kbuild/kbuild.rst (modules.builtin), depmod(8), modprobe.d(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.files.fs import Files

MODULE_DIRECTORIES = ("/usr/lib/modules", "/lib/modules")
# A file hides one of the same name in a directory behind its own.
MODPROBE_DIRECTORIES = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d",
                        "/usr/lib/modprobe.d", "/lib/modprobe.d")  # fmt: skip
MODPROBE_LIMIT = 256 * 1024
CONFIG_LIMIT = 1024 * 1024
LIST_LIMIT = 4 * 1024 * 1024  # bytes of modules.dep; the largest in use have 1 MiB
MAX_FILES = 1000


@dataclass(frozen=True)
class Modules:
    """A kernel's modules, `_` for `-`: those built in, and the loadable ones with what each needs."""

    builtin: frozenset[str]
    loadable: dict[str, tuple[str, ...]]

    def __contains__(self, name: str) -> bool:
        return name in self.builtin or name in self.loadable

    def __bool__(self) -> bool:
        return bool(self.builtin or self.loadable)


def module_name(path: str) -> str:
    """A module's name by its file: `_` for `-`, no directory, no suffix."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def find_modules(files: Files, release: str) -> Modules:
    """The modules of a kernel; empty when the kernel has no lists."""
    for base in MODULE_DIRECTORIES:
        builtin = files.find_text(f"{base}/{release}/modules.builtin", LIST_LIMIT) or ""
        dependencies = files.find_text(f"{base}/{release}/modules.dep", LIST_LIMIT) or ""
        if builtin or dependencies:
            break
    loadable = {}
    for line in dependencies.splitlines():
        path, colon, needed = line.partition(":")
        if colon:
            loadable[module_name(path)] = tuple(module_name(one) for one in needed.split())
    return Modules(frozenset(module_name(line) for line in builtin.splitlines() if line), loadable)


def find_config(files: Files, release: str) -> tuple[dict[str, str], str] | None:
    """A kernel's configuration (CONFIG_X to y, m or a value) and its path; None when the guest has none."""
    paths = (f"/boot/config-{release}", *(f"{base}/{release}/config" for base in MODULE_DIRECTORIES))
    for path in paths:
        text = files.find_text(path, CONFIG_LIMIT)
        if text is not None:
            return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE)), path
    return None


@dataclass(frozen=True)
class Forbidden:
    """A line that keeps a module from loading; `line` counts from 1. `hard`: by its name too."""

    module: str
    path: str
    line: int
    hard: bool

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


def modprobe_files(files: Files) -> list[str]:
    """The files that modprobe reads, in the order of their names."""
    found: dict[str, str] = {}
    for directory in MODPROBE_DIRECTORIES:
        for name in files.list(directory)[:MAX_FILES]:
            if name.endswith(".conf"):
                found.setdefault(name, f"{directory}/{name}")
    return [found[name] for name in sorted(found)]


def find_forbidden(files: Files) -> Iterator[Forbidden]:
    """Every line of modprobe's files that forbids a module."""
    for path in modprobe_files(files):
        text = files.find_text(path, MODPROBE_LIMIT) or ""
        for number, name, hard in parse_forbidden(text):
            yield Forbidden(name, path, number, hard)


def parse_forbidden(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line, module, hard) of each `blacklist`, and each `install` of a program that does nothing."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if len(words) < 2:
            continue
        nothing = len(words) > 2 and words[2].rsplit("/", 1)[-1] in ("true", "false", "nologin", ":")
        if words[0] == "blacklist" or (words[0] == "install" and nothing):
            yield number, words[1].replace("-", "_"), words[0] == "install"


def comment_out(text: str, lines: set[int], mark: str = "# ") -> str:
    """The text with these lines, counted from 1, made comments."""
    numbered = enumerate(text.splitlines(keepends=True), 1)
    return "".join(mark + line if number in lines else line for number, line in numbered)
