"""One file system's tree of nodes, over libyal's libfsext, libfsxfs, libfsfat and libfsntfs.

The libraries raise OSError for whatever they dislike; here it becomes GuestError with the disk's or the
window's own error as its cause, where there is one.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any, Protocol

from vmstamp.errors import GuestError, VmstampError
from vmstamp.guest.files.ntfs import REPARSE_POINT, find_link, link_target
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.files.window import Window

MAX_ENTRIES = 200_000  # of one directory
UNDECODABLE = "\ufffd"  # the name shown for an entry whose name is not UTF-8

FAT_DIRECTORY = 0x10

# The binding that reads each kind; all have the same classes. Loaded when a disk needs it.
# What is added here is to be in READ of `vmstamp.guest.files.probe` too.
_LIBRARIES = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), "pyfsext"),
    "xfs": "pyfsxfs",
    "vfat": "pyfsfat",
    "ntfs": "pyfsntfs",
}


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"  # device, socket, pipe


class Node(Protocol):
    """A file, directory or link. `size` in bytes, `mode` the permission bits (FAT has none: 0o755).

    `child` is the directory's entry of that name, None when there is none or this is no directory; `names`
    are a directory's entries as stored; `read` gives fewer than `length` bytes only at the file's end;
    `target` is where a symbolic link points. All raise GuestError for a damaged file system.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def size(self) -> int: ...
    @property
    def mode(self) -> int: ...
    def child(self, name: str) -> Node | None: ...
    def names(self) -> list[str]: ...
    def read(self, offset: int, length: int) -> bytes: ...
    def target(self) -> str: ...


class Tree(Protocol):
    """An open file system; `root` is its top directory."""

    @property
    def root(self) -> Node: ...


@contextmanager
def reading(window: Window, what: str) -> Iterator[None]:
    """One operation on the window; what the bindings raise inside the block becomes GuestError."""
    window.renew()
    try:
        yield
    except VmstampError:
        raise
    except (
        OSError,
        ValueError,
        RuntimeError,
        MemoryError,
        OverflowError,
        SystemError,
    ) as error:
        if isinstance(window.error, VmstampError):
            raise window.error from error
        raise GuestError(
            f"{what}: the file system is damaged: {_last_words(error)}",
            hint="check it with fsck, or make the disk anew",
        ) from error


def _last_words(error: BaseException) -> str:
    """The innermost of libyal's chained sentences, which names the cause."""
    sentences = [part for part in str(error).strip().rstrip(".").split(". ") if part]
    return sentences[-1] if sentences else type(error).__name__


@dataclass(frozen=True)
class VolumeNode:
    """A Node over an entry of one of the libraries."""

    volume: Volume
    path: str  # in the volume, without symbolic links
    kind: Kind
    size: int
    mode: int
    _entry: Any = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1] or "/"

    def child(self, name: str) -> Node | None:
        if self.kind is not Kind.DIRECTORY:
            return None
        with reading(self.volume.window, name):
            path = f"{self.path.rstrip('/')}/{name}"
            entry = self.volume.find_entry(self._entry, name, path)
            return None if entry is None else self.volume.node(entry, path)

    def names(self) -> list[str]:
        """GuestError when there are more than MAX_ENTRIES."""
        with reading(self.volume.window, self.path):
            return [_name(entry) for entry in _entries(self._entry, self.path)]

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        with reading(self.volume.window, self.path):
            data: bytes = self._entry.read_buffer_at_offset(length, offset)
        if len(data) != length:
            raise GuestError(f"{self.path}: {len(data)} bytes at {offset} were read, {length} expected")
        return data

    def target(self) -> str:
        with reading(self.volume.window, self.path):
            ntfs = self.volume.file_system.kind == "ntfs"
            target: str | None = find_link(self._entry) if ntfs else self._entry.symbolic_link_target
        if not target:
            raise GuestError(f"{self.path}: the symbolic link has no target")
        return link_target(target) if ntfs else target


def _entries(directory: Any, name: str) -> Iterator[Any]:
    count = directory.number_of_sub_file_entries
    if count > MAX_ENTRIES:
        raise GuestError(f"{name}: the directory has {count} entries, {MAX_ENTRIES} are read")
    return (directory.get_sub_file_entry(index) for index in range(count))


def _name(entry: Any) -> str:
    try:
        return str(entry.name)
    except OSError:
        return UNDECODABLE


class Volume:
    """An open file system. Not thread-safe; owns neither the window nor the disk."""

    def __init__(self, window: Window, file_system: FileSystem) -> None:
        """Raises GuestError when this version does not read `file_system` or finds it damaged."""
        if file_system.unread:
            raise GuestError(f"{file_system.kind}: {file_system.unread}")
        self.window = window
        self.file_system = file_system
        self._fat = file_system.kind == "vfat"
        self._volume = import_module(_LIBRARIES[file_system.kind]).volume()
        with reading(window, file_system.kind):
            self._volume.open_file_object(window)
            root = self._volume.get_root_directory()
            if root is None:
                raise GuestError(f"{file_system.kind}: the file system has no root directory")
            self.root: Node = self.node(root, "/")

    def find_entry(self, directory: Any, name: str, path: str) -> Any:
        """The library's entry `name` of a directory, or None; `path` is the entry's. FAT knows no case.

        By name the libraries raise one error for an entry that is absent and for one that is damaged, and
        libfsxfs for most that are there. By path libfsext and libfsxfs are right (but read the directory
        anew); FAT is searched here.
        """
        if self._fat:
            folded = name.casefold()
            return next((e for e in _entries(directory, path) if _name(e).casefold() == folded), None)
        if self.file_system.kind == "ntfs":  # its index is searched, without regard to case
            return None if "\\" in name else self._volume.get_file_entry_by_path(path.replace("/", "\\"))
        if self.file_system.kind == "xfs":
            return self._volume.get_file_entry_by_path(path)
        try:
            return directory.get_sub_file_entry_by_name(name)
        except OSError:
            return self._volume.get_file_entry_by_path(path)

    def node(self, entry: Any, path: str) -> VolumeNode:
        if self._fat:
            directory = path == "/" or entry.file_attribute_flags & FAT_DIRECTORY
            kind = Kind.DIRECTORY if directory else Kind.FILE
            return VolumeNode(self, path, kind, 0 if directory else entry.size, 0o755, entry)
        if self.file_system.kind == "ntfs":
            return self._ntfs_node(entry, path)
        mode = entry.file_mode
        kind = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}.get(
            stat.S_IFMT(mode), Kind.OTHER
        )
        return VolumeNode(self, path, kind, entry.size, stat.S_IMODE(mode), entry)

    def _ntfs_node(self, entry: Any, path: str) -> VolumeNode:
        """A reparse point that is no link is a file that is stored elsewhere in the volume (WOF)."""
        if entry.file_attribute_flags is None:
            raise GuestError(f"{path}: its file record has no $STANDARD_INFORMATION")
        if entry.file_attribute_flags & REPARSE_POINT and find_link(entry):
            return VolumeNode(self, path, Kind.SYMLINK, 0, 0o777, entry)
        if entry.has_directory_entries_index():
            return VolumeNode(self, path, Kind.DIRECTORY, 0, 0o755, entry)
        kind = Kind.FILE if entry.has_default_data_stream() else Kind.OTHER
        return VolumeNode(self, path, kind, entry.size if kind is Kind.FILE else 0, 0o644, entry)
