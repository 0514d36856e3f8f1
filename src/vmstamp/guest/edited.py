"""A guest's files as they would be after some edits: what a plan leads to, known before a byte is written.

The edits lie as a layer of changes over the tree that was read; nothing is copied. What a program would do
(`Run`) and what lies in a registry is not foreseen: such edits change nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vmstamp.guest.edits import Edit, Empty, Remove, Symlink, Truncate, Write
from vmstamp.guest.fs import MAX_LINKS, Files
from vmstamp.guest.volume import Kind, Node


@dataclass(frozen=True)
class MadeNode:
    """A node that an edit made."""

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


# By a directory's path without links: its entries that an edit made, or (None) removed.
Changes = dict[str, dict[str, MadeNode | None]]


@dataclass(frozen=True)
class EditedNode:
    """A node at `path`, which has no links in it, seen through the changes."""

    path: str
    base: Node
    changes: Changes = field(repr=False)

    @property
    def name(self) -> str:
        return self.base.name

    @property
    def kind(self) -> Kind:
        return self.base.kind

    @property
    def size(self) -> int:
        return self.base.size

    @property
    def mode(self) -> int:
        return self.base.mode

    def child(self, name: str) -> Node | None:
        changed = self.changes.get(self.path, {})
        node = changed[name] if name in changed else self.base.child(name)
        return None if node is None else EditedNode(_join(self.path, name), node, self.changes)

    def names(self) -> list[str]:
        changed = self.changes.get(self.path, {})
        kept = [name for name in self.base.names() if name not in changed]
        return kept + [name for name, node in changed.items() if node is not None]

    def read(self, offset: int, length: int) -> bytes:
        return self.base.read(offset, length)

    def target(self) -> str:
        return self.base.target()


@dataclass(frozen=True)
class EditedTree:
    root: Node


class EditedFiles(Files):
    """`files` with `edits` done to them in their order; `files` is left as it was."""

    def __init__(self, files: Files, edits: Iterable[Edit]) -> None:
        self._changes: Changes = {}
        roots = {path: files.find(path) for path in files.mounts}
        super().__init__(
            {
                path: EditedTree(EditedNode(path, root, self._changes))
                for path, root in roots.items()
                if root is not None
            }
        )
        for edit in edits:
            self._do(edit)

    def _do(self, edit: Edit) -> None:
        match edit:
            case Remove(path):
                self._put(path, None)
            case Symlink(path, target):
                self._put(path, MadeNode(path.rsplit("/", 1)[-1], Kind.SYMLINK, link=target))
            case Empty(path):
                if self.is_directory(path):
                    for name in self.list(path):
                        self._put(f"{path}/{name}", None)
            case Truncate(path):
                if self.is_file(path):
                    self._write(path, b"")
            case Write(path, data, mode):
                self._write(path, data, mode)
            case _:
                pass

    def _write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        for _ in range(MAX_LINKS):
            link = self.readlink(path)
            if link is None:
                break
            path = link if link.startswith("/") else f"{path.rsplit('/', 1)[0]}/{link}"
        self._put(path, MadeNode(path.rsplit("/", 1)[-1], Kind.FILE, data, mode=mode))

    def _put(self, path: str, node: MadeNode | None) -> None:
        """Make `node` the entry at `path`; its directories are made when it is not None."""
        above, _, name = path.rstrip("/").rpartition("/")
        parent = self.find(above or "/")
        if parent is None and node is not None:
            self._put(above, MadeNode(above.rsplit("/", 1)[-1], Kind.DIRECTORY, mode=0o755))
            parent = self.find(above)
        if not isinstance(parent, EditedNode) or parent.kind is not Kind.DIRECTORY:
            return
        whole = _join(parent.path, name)
        if whole in self.mounts:  # a mount point cannot be removed, but what lies in it can
            self._do(Empty(whole))
            return
        for changed in [one for one in self._changes if one == whole or one.startswith(f"{whole}/")]:
            del self._changes[changed]
        self._changes.setdefault(parent.path, {})[name] = node


def real_path(files: Files, path: str) -> str | None:
    """The path, free of links, of what `path` leads to in the guest; None when nothing is there."""
    node = EditedFiles(files, ()).find(path)
    return node.path if isinstance(node, EditedNode) else None


def _join(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"
