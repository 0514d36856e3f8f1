"""Step: one thing that makes a machine itself, where it lies, and the edits that take it away.

A step is a record with three uses: what it finds is a leftover (`vmstamp.guest.identity`), a check's verdict
(`vmstamp.guest.checks.leftovers`), and a task of a plan (`vmstamp.guest.generalize`).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import islice

from vmstamp.errors import GuestError
from vmstamp.guest.edits import Edit, Empty, Remove, Write
from vmstamp.guest.files.fs import MAX_LINKS, Files
from vmstamp.guest.files.volume import Kind
from vmstamp.guest.identity.accounts import User, decode, encode, passwords_of, users_of, without_lines
from vmstamp.guest.provisioning import agents

TEXT_LIMIT = 1024 * 1024  # bytes of a file that is looked into; a longer one is edited by no step
MAX_DEPTH = 128  # directories below each other; in a damaged file system one may hold itself
MAX_FOUND = 10_000  # places of one pattern or walk; what is more is left for the next run
MAX_HOMES = 1_000

# Where nobody's files are: homes of system users that are shared with the system.
SYSTEM_DIRECTORIES = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp",
    "/usr", "/nonexistent",
)  # fmt: skip


class Severity(StrEnum):
    IDENTITY = "identity"
    TRACE = "trace"


class Default(StrEnum):
    """Whether a step is done unasked."""

    ON = "on"
    OFF = "off"  # it may take away what is wanted, so it is done when it is named
    NEVER = "never"  # listed with the reason


Mend = Callable[[Files], Iterable[Edit]]


@dataclass(frozen=True)
class Found:
    """A place: `where` a path in the guest, `detail` what lies there, without its secret.

    `mend` gives the edits that take it away from the files as they are by then; None when nothing offline
    can, or when it was not asked for: `detail` then says so.
    """

    where: str
    detail: str
    mend: Mend | None = None


@dataclass(frozen=True)
class Step:
    """`find` yields the places in one guest; `why` what would happen, for a NEVER step why it is not done."""

    id: str
    title: str
    why: str
    source: str
    severity: Severity
    find: Callable[[Guest], Iterator[Found]]
    default: Default = Default.ON


@dataclass(frozen=True)
class Choice:
    """What was asked for. `keep`, `only` and `also` are ids of steps; `only` empty: all that are on.

    `users` are removed beside those that an agent made, with `all_users` every person. `machine_id` is what
    is left in machine-id(5): 'empty', or 'uninitialized', which makes the next boot a first boot.
    """

    keep: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    also: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    all_users: bool = False
    machine_id: str = "empty"

    def takes(self, step: Step) -> bool:
        if step.default is Default.NEVER or step.id in self.keep:
            return False
        if self.only:
            return step.id in self.only or step.id in self.also
        return step.default is Default.ON or step.id in self.also


@dataclass(frozen=True)
class Guest:
    """What the steps look at. What is computed is kept: a guest whose files change is a new Guest."""

    files: Files
    choice: Choice = field(default_factory=Choice)

    @cached_property
    def users(self) -> tuple[User, ...]:
        return users_of(self.text("/etc/passwd"))

    @cached_property
    def passwords(self) -> dict[str, str]:
        return passwords_of(self.text("/etc/shadow"))

    @cached_property
    def homes(self) -> tuple[tuple[str, str], ...]:
        """(user, home) of root and of every user whose home is a directory of its own; each home once."""
        owners: dict[str, str] = {"/root": "root"}
        for user in self.users[:MAX_HOMES]:
            if is_own_home(user.home):
                owners.setdefault(user.home, user.name)
        return tuple((name, home) for home, name in owners.items() if self.files.is_directory(home))

    @cached_property
    def has_cloud_init(self) -> bool:
        """cloud-init runs at the first boot of a VM."""
        found = agents.find_cloud_init(self.files)
        return found is not None and found.enabled

    def text(self, path: str) -> str:
        """The beginning of a file, at most TEXT_LIMIT bytes; '' when there is none."""
        return decode(self.files.read_part(path, 0, TEXT_LIMIT))

    def glob(self, pattern: str, top: str = "") -> Iterator[str]:
        """Paths below `top` that are there; `*` and the like stand for names in one directory, hidden ones
        only when the pattern names the dot. The last component may be a link to nothing."""
        return islice(_glob(self.files, top, pattern.strip("/").split("/")), MAX_FOUND)

    def holds(self, path: str) -> bool:
        """There is a file that is not empty, a link, or a directory with entries."""
        node = self.files.find(path, follow=False)
        if node is None:
            return False
        if node.kind is Kind.DIRECTORY:
            return bool(self.files.list(path))
        return node.size > 0 or node.kind is not Kind.FILE

    def walk(self, top: str, leave: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
        """(path, size) of the regular files below a directory, not through links; MAX_FOUND at most.

        The directories `leave` are not looked into. GuestError when directories lie deeper than any guest's.
        """
        waiting, count = [top], 0
        while waiting:
            directory = waiting.pop()
            if directory.count("/") > MAX_DEPTH:
                raise GuestError(
                    f"{top}: more than {MAX_DEPTH} directories below each other, they may form a loop",
                    hint="check the file system in the guest: fsck",
                )
            for name in self.files.list(directory):
                path = f"{directory}/{name}"
                node = self.files.find(path, follow=False)
                count += 1
                if count > MAX_FOUND:
                    return
                if node is None:
                    continue
                if node.kind is Kind.DIRECTORY:
                    waiting += [path] if path not in leave else []
                elif node.kind is Kind.FILE:
                    yield path, node.size


def is_own_home(home: str) -> bool:
    """A directory that can be one user's alone, by its path: not the system's, and not right below `/`."""
    if home == "/root":
        return True
    parts = home.split("/")
    usual = len(parts) >= 3 and parts[0] == "" and not {"", ".", ".."} & set(parts[1:])
    return usual and f"/{parts[1]}" not in SYSTEM_DIRECTORIES


def real_path(files: Files, path: str) -> str | None:
    """The path, free of links, of what `path` leads to in the guest; None when nothing is there."""
    if not files.exists(path):
        return None
    waiting, done, links = path.split("/")[::-1], list[str](), 0
    while waiting:
        name = waiting.pop()
        if name in ("", ".", ".."):
            done = done[:-1] if name == ".." else done
            continue
        target = files.readlink("/".join(("", *done, name)))
        if target is None:
            done.append(name)
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        done = [] if target.startswith("/") else done
        waiting += target.split("/")[::-1]
    return "/" + "/".join(done)


def _glob(files: Files, directory: str, parts: list[str]) -> Iterator[str]:
    head, *rest = parts
    if not any(sign in head for sign in "*?["):
        names = [head]
    else:
        hidden = head.startswith(".")
        names = [
            name
            for name in files.list(directory or "/")
            if fnmatch.fnmatchcase(name, head) and (hidden or not name.startswith("."))
        ]
    for name in names:
        path = f"{directory}/{name}"
        if rest:
            yield from _glob(files, path, rest)
        elif files.find(path, follow=False) is not None:
            yield path


def plain(text: str) -> str:
    """Text from `decode` as it can be shown: bytes that are not UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def removing(*paths: str) -> Mend:
    return lambda files: [Remove(path) for path in paths if files.find(path, follow=False)]


def emptying(*paths: str) -> Mend:
    return lambda files: [Empty(path) for path in paths if files.list(path)]


def writing(path: str, data: bytes, mode: int = 0o644) -> Mend:
    return lambda _: [Write(path, data, mode)]


def changing(path: str, change: Callable[[str], str]) -> Mend:
    """The file at `path` with its text changed, when that makes a difference."""

    def mend(files: Files) -> Iterator[Edit]:
        node = files.find(path)
        if node is None or node.kind is not Kind.FILE or node.size > TEXT_LIMIT:
            return
        before = decode(node.read(0, node.size))
        after = change(before)
        if after != before:
            yield Write(path, encode(after))

    return mend


def dropping(path: str, unwanted: Callable[[str], bool]) -> Mend:
    """The file at `path` without some lines."""
    return changing(path, lambda text: without_lines(text, unwanted))


def together(*mends: Mend) -> Mend:
    return lambda files: [edit for mend in mends for edit in mend(files)]


def places(*rows: tuple[str, str]) -> Callable[[Guest], Iterator[Found]]:
    """A step's `find` for (pattern, what it is): what holds something is removed."""

    def find(guest: Guest) -> Iterator[Found]:
        for pattern, detail in rows:
            for path in guest.glob(pattern):
                if guest.holds(path):
                    yield Found(path, detail, removing(path))

    return find


def contents(*rows: tuple[str, str]) -> Callable[[Guest], Iterator[Found]]:
    """A step's `find` for (pattern, what it is) of directories that stay, and lose what is in them."""

    def find(guest: Guest) -> Iterator[Found]:
        for pattern, detail in rows:
            for path in guest.glob(pattern):
                if guest.files.list(path):
                    yield Found(path, detail, emptying(path))

    return find


def in_homes(*rows: tuple[str, str]) -> Callable[[Guest], Iterator[Found]]:
    """A step's `find` for (pattern below a home, what it is); `{user}` in the latter is whose it is."""

    def find(guest: Guest) -> Iterator[Found]:
        for user, home in guest.homes:
            for pattern, detail in rows:
                for path in guest.glob(pattern, home):
                    if guest.holds(path):
                        yield Found(path, detail.format(user=user), removing(path))

    return find


def joined(*finds: Callable[[Guest], Iterator[Found]]) -> Callable[[Guest], Iterator[Found]]:
    """A step's `find` that yields what several do, each place once."""

    def find(guest: Guest) -> Iterator[Found]:
        seen = set()
        for one in finds:
            for found in one(guest):
                if found.where not in seen:
                    seen.add(found.where)
                    yield found

    return find
