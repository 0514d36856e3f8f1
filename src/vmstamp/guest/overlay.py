"""The guest's files as they would be after edits: laid over the real ones in memory, nothing is written.

So a second check's fix sees what the first one's has written, and a plan can say what would be found after
it. What a program of the guest would do (Run), what a registry hive would hold (HiveEdit) and what lies in a
partition that the guest does not mount is not known before it is done: such edits are only remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from vmstamp.disk.partitions import read_partitions
from vmstamp.disk.resized import Changed
from vmstamp.errors import GuestError
from vmstamp.guest.edits import (
    Edit,
    Empty,
    HiveEdit,
    Patch,
    Remove,
    Run,
    Symlink,
    Truncate,
    Write,
)
from vmstamp.guest.facts import Facts, find_loaders, gather_guest
from vmstamp.guest.files.fs import MAX_LINKS, Files
from vmstamp.guest.files.volume import Kind, Node, Tree


def is_unforeseen(edit: Edit) -> bool:
    """Whether the edit cannot be laid over: its outcome shows only when it is done."""
    return isinstance(edit, Run | HiveEdit) or (isinstance(edit, Write) and bool(edit.partition))


@dataclass(frozen=True)
class NewNode:
    """A file or symbolic link that an edit has made."""

    name: str
    kind: Kind
    content: bytes = b""
    link: str = ""
    mode: int = 0o644

    @property
    def size(self) -> int:
        return len(self.content)

    def child(self, name: str) -> Node | None:
        return None

    def names(self) -> list[str]:
        return []

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def target(self) -> str:
        return self.link


@dataclass
class Directory:
    """A directory with changes: `base` the real one (None: new), `changed` what is different in it.

    A name that maps to None is gone. Directories below are wrapped when they are first asked for, so that a
    change in one stays.
    """

    name: str
    base: Node | None = None
    changed: dict[str, Node | None] = field(default_factory=dict)
    kind: Kind = Kind.DIRECTORY

    @property
    def size(self) -> int:
        return 0

    @property
    def mode(self) -> int:
        return self.base.mode if self.base else 0o755

    def child(self, name: str) -> Node | None:
        if name in self.changed:
            return self.changed[name]
        found = self.base.child(name) if self.base else None
        if found is not None and found.kind is Kind.DIRECTORY:
            found = Directory(name, found)
            self.changed[name] = found
        return found

    def names(self) -> list[str]:
        kept = [] if self.base is None else [n for n in self.base.names() if n not in self.changed]
        return [*kept, *(name for name, node in self.changed.items() if node is not None)]

    def read(self, offset: int, length: int) -> bytes:
        return b""

    def target(self) -> str:
        raise GuestError(f"{self.name}: a directory, not a symbolic link")

    def empty(self) -> None:
        self.base, self.changed = None, {}


@dataclass(frozen=True)
class OverlayTree:
    root: Directory


class Overlay(Files):
    """Files with edits laid over them. `unforeseen` are the edits whose outcome is not known, `patches` the
    bytes that are written to the disk itself, by their offset.

    The files beneath are not changed. GuestError where an edit cannot be done: a file where a directory is
    needed, links that form a loop.
    """

    def __init__(self, files: Files) -> None:
        super().__init__({path: OverlayTree(Directory("/", tree.root)) for path, tree in files.trees.items()})
        self.unforeseen: list[Edit] = []
        self.patches: dict[int, bytes] = {}

    def _child(self, node: Node, path: str, name: str) -> Node | None:
        return node.child(name)  # not kept: the next edit may change it

    def apply(self, edits: Iterable[Edit]) -> None:
        """Lay the edits over the files, in order."""
        for edit in edits:
            self._apply(edit)

    def _apply(self, edit: Edit) -> None:
        if is_unforeseen(edit):
            self.unforeseen.append(edit)
            return
        match edit:
            case Remove(path):
                self._put(path, None)
            case Empty(path):
                node = self.find(path)
                if isinstance(node, Directory):
                    node.empty()
            case Truncate(path):
                if self.is_file(path):
                    self._write(path, b"", 0o644)
            case Write(path, data, mode):
                self._write(path, data, mode)
            case Patch(offset, data):
                self.patches[offset] = data
            case Symlink(path, target):
                self._put(path, NewNode(_name(path), Kind.SYMLINK, link=target))

    def _write(self, path: str, data: bytes, mode: int) -> None:
        """Write through the links at the end of `path`, as an open(2) would."""
        for _ in range(MAX_LINKS):
            node = self.find(path, follow=False)
            if node is None or node.kind is not Kind.SYMLINK:
                break
            path = _joined(path, node.target())
        else:
            raise GuestError(f"{path}: too many symbolic links, they may form a loop")
        if node is not None and node.kind is not Kind.FILE:
            raise GuestError(f"{path}: a {node.kind} in the guest, not a regular file")
        self._put(path, NewNode(_name(path), Kind.FILE, data, mode=node.mode if node else mode))

    def _put(self, path: str, node: Node | None) -> None:
        """Set or take away (None) the entry at `path`; its directories are made when it is set."""
        directory = self._directory(path.rstrip("/").rpartition("/")[0], make=node is not None)
        if directory is not None:
            directory.changed[_name(path)] = node

    def _directory(self, path: str, *, make: bool) -> Directory | None:
        found = self.find(path or "/")
        if isinstance(found, Directory):
            return found
        if not make:
            return None
        if found is not None or self.find(path, follow=False) is not None:
            raise GuestError(f"{path}: not a directory in the guest")
        parent = self._directory(path.rpartition("/")[0], make=True)
        assert parent is not None
        made = Directory(_name(path))
        parent.changed[made.name] = made
        return made


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _joined(path: str, target: str) -> str:
    """Where a link at `path` points. `..` stays: the walk resolves it inside the guest."""
    return target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}"


def lay_over(facts: Facts, overlay: Overlay) -> Facts:
    """The facts of the disk as read, with what the edited files tell instead: the guest's and its ESP's.

    Their files are a view of the overlay as it is now, for readers keep what they have read of one Files.
    """
    view = Files(overlay.trees)
    changed = patched(replace(facts, files=view, survey=replace(facts.survey, files=view)), overlay.patches)
    esp = _esp_tree(facts, overlay)
    if esp is not None:
        files = Files({"/": esp})
        changed = replace(changed, boot=replace(facts.boot, esp_files=files, loaders=find_loaders(files)))
    return gather_guest(changed)


def patched(facts: Facts, patches: Mapping[int, bytes]) -> Facts:
    """The facts with the partition table as it is once these bytes, by their offset, are on the disk."""
    if not patches:
        return facts
    table = read_partitions(Changed(facts.disk, facts.disk.size, patches))
    return replace(facts, survey=replace(facts.survey, table=table))


def _esp_tree(facts: Facts, overlay: Overlay) -> Tree | None:
    """The overlaid tree of the ESP, when the guest mounts it."""
    if facts.files is None or facts.boot.esp_files is None:
        return None
    esp = facts.boot.esp_files.trees["/"]
    return next((overlay.trees[path] for path, tree in facts.files.trees.items() if tree is esp), None)
