"""Edits: what is to be changed on a guest's disk, said before anything is changed.

An edit is a record. A plan of edits is made from what was read, shown to people, and carried out at one time
by `vmstamp.guest.workshop`. All but Patch are of the guest's files: every path is the guest's own, absolute.
Symbolic links on the way resolve inside the guest; a link at the end is itself removed or replaced by Remove
and Symlink, and followed by the others.

Owner, mode, extended attributes and SELinux context of what is kept are kept; a new file gets those of its
directory's files (root, `mode`, the context of the policy's file_contexts when the guest has one).
Every edit is idempotent: done twice, it is done.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Remove:
    """No file, link or directory tree is at `path` afterwards; nothing outside of it is followed."""

    path: str


@dataclass(frozen=True)
class Empty:
    """The directory `path` has no entries afterwards; the directory itself stays, and is not made."""

    path: str


@dataclass(frozen=True)
class Truncate:
    """The file `path`, if it is there, has no bytes afterwards."""

    path: str


@dataclass(frozen=True)
class Write:
    """The file `path` holds `data` afterwards, its directories are made. `mode` is a new file's.

    `partition` as of SetValue: for what a Windows mounts nowhere.
    """

    path: str
    data: bytes
    mode: int = 0o644
    partition: int = 0


@dataclass(frozen=True)
class Symlink:
    """`path` is a symbolic link to `target` afterwards; whatever file or link was there is replaced."""

    path: str
    target: str


@dataclass(frozen=True)
class Run:
    """A program of the guest, run as root inside of it (chroot), offline; it must end with status 0.

    Only for a guest of this machine's architecture.
    """

    argv: tuple[str, ...]
    timeout: float = 3600.0  # seconds; dracut took up to 660 for one kernel on a busy machine


@dataclass(frozen=True)
class SetValue:
    """A value of a Windows registry hive: `hive` the hive's file, `key` its path below the hive's root.

    `data` is int for REG_DWORD and REG_QWORD, str for REG_SZ and REG_EXPAND_SZ, a tuple of str for
    REG_MULTI_SZ and bytes for REG_BINARY. Missing keys are made. `partition` is the number of the partition
    in which the hive's file lies, for what Windows mounts nowhere (its boot store); 0: one of the guest's.
    """

    hive: str
    key: str
    name: str
    kind: str
    data: int | str | bytes | tuple[str, ...]
    partition: int = 0


@dataclass(frozen=True)
class DeleteValue:
    """A registry key has no value `name` afterwards."""

    hive: str
    key: str
    name: str


@dataclass(frozen=True)
class CopyKey:
    """The registry key `target` is a copy of the key `source`, with all below it; one that is there stays."""

    hive: str
    source: str
    target: str


@dataclass(frozen=True)
class Patch:
    """The disk itself holds `data` at `offset` bytes, in no partition; `what` names it for people."""

    offset: int
    data: bytes
    what: str


HiveEdit = SetValue | DeleteValue | CopyKey
GuestEdit = Remove | Empty | Truncate | Write | Symlink | Run | HiveEdit
Edit = GuestEdit | Patch


def describe(edit: Edit) -> str:
    """One line for people; never the bytes that are written."""
    match edit:
        case Remove(path):
            return f"remove {path}"
        case Empty(path):
            return f"empty {path}"
        case Truncate(path):
            return f"truncate {path}"
        case Write(path, data, partition=number):
            return f"write {_place(number)}{path} ({len(data)} bytes)"
        case Symlink(path, target):
            return f"link {path} -> {target}"
        case Run(argv):
            return f"run {' '.join(argv)}"
        case SetValue(hive, key, name, kind, partition=number):
            return f"set {_place(number)}{hive}\\{key}\\{name} ({kind})"
        case DeleteValue(hive, key, name):
            return f"delete {hive}\\{key}\\{name}"
        case CopyKey(hive, source, target):
            return f"copy {hive}\\{source} to {target}"
        case Patch(offset, data, what):
            return f"write {what} ({len(data)} bytes at byte {offset} of the disk)"


def _place(partition: int) -> str:
    return f"partition {partition}: " if partition else ""
