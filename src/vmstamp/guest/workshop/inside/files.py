"""The guest's mounted files, and the edits of them. Every path resolves inside of the guest's root.

Nothing here needs privileges beyond those over the files, so the tests run it on a directory of theirs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Self

from vmstamp.guest.workshop.inside import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSENT = (errno.ENOENT, errno.ENOTDIR)  # ENOTDIR: something on the way is a file
PIECE = 1024 * 1024

Label = Callable[[str, int], "str | None"]  # (path, file type bits of the mode) -> SELinux context


def _unlabelled(path: str, kind: int) -> str | None:
    return None


class Tree:
    """A directory as a root; a context manager.

    `label` tells the SELinux context of a new file, None where there is none. `ignore_case`: names match
    without regard to case, as on NTFS.
    """

    def __init__(self, root: str, label: Label = _unlabelled, *, ignore_case: bool = False) -> None:
        self.top = os.path.realpath(root)
        self.fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
        self.label = label
        self.ignore_case = ignore_case

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """A descriptor; its links resolve inside, the last one too unless O_NOFOLLOW. Never blocks."""
        if self.ignore_case:
            path = self.spelled(path)
        if not flags & os.O_PATH:
            flags |= os.O_NONBLOCK | os.O_NOCTTY
        return kernel.open_in_root(self.fd, path, flags, mode)

    def open_directory(self, path: str, *, make: bool = False) -> int:
        """A descriptor of the directory; with `make` it and those above it are made where they are absent."""
        try:
            return self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if not make or path in ("", "/"):
                raise
        above, name = split(path)
        parent = self.open_directory(above, make=True)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)  # EEXIST: a link that leads nowhere
            self.adopt(parent, name)
        finally:
            os.close(parent)
        return self.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def path_of(self, fd: int) -> str:
        """The path inside of the tree of an open directory or file."""
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(self.top) or "/"

    def adopt(self, parent: int, name: str) -> None:
        """Give the new `name` in the directory its owner, root, and its SELinux context."""
        status = os.lstat(name, dir_fd=parent)
        with suppress_unsupported():
            if (status.st_uid, status.st_gid) != (0, 0) and os.geteuid() == 0:
                os.chown(name, 0, 0, dir_fd=parent, follow_symlinks=False)
        path = self.path_of(parent).rstrip("/") + "/" + name
        label = self.label(path, stat.S_IFMT(status.st_mode))
        if label is not None:
            with suppress_unsupported():
                value = label.encode() + b"\0"
                os.setxattr(
                    f"/proc/self/fd/{parent}/{name}", "security.selinux", value, follow_symlinks=False
                )

    def spelled(self, path: str) -> str:
        """The path as its directories spell it; components that they do not have stay as they are."""
        done = "/"
        for name in components(path):
            found = name
            with suppress(OSError):
                directory = kernel.open_in_root(self.fd, done, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    names = list_names(directory)
                finally:
                    os.close(directory)
                same = [one for one in names if one.casefold() == name.casefold()]
                found = name if name in same or not same else min(same)
            done = done.rstrip("/") + "/" + found
        return done


@contextmanager
def suppress_unsupported() -> Iterator[None]:
    """For what some file systems do not have: FAT knows no owners, no extended attributes."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS):
            raise


@contextmanager
def opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def split(path: str) -> tuple[str, str]:
    """The directory and the last component of a path that is not the root."""
    *above, name = components(path)
    return "/" + "/".join(above), name


def remove(tree: Tree, path: str) -> bool:
    """Whether there was something to remove."""
    above, name = split(path)
    try:
        parent = tree.open_directory(above)
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise
    with opened(parent):
        name = split(tree.spelled(path))[1] if tree.ignore_case else name
        try:
            _remove_at(parent, name)
        except FileNotFoundError:
            return False
        os.fsync(parent)
    return True


def _remove_at(parent: int, name: str) -> None:
    """Remove `name`, a tree if it is a directory. EBUSY for what something is mounted on."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    with opened(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)) as directory:
        if clear(directory):
            raise OSError(errno.EBUSY, "another file system is mounted in it", name)
    os.rmdir(name, dir_fd=parent)


def clear(directory: int) -> int:
    """Remove all entries of the open directory; how many stay, because they are mount points.

    What is mounted is cleared too. However deep the tree, two descriptors are open: a directory's own
    directories are first moved up to the top.
    """
    moved, staying = 0, set[str]()
    while names := [name for name in list_names(directory) if name not in staying]:
        for name in names:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                os.unlink(name, dir_fd=directory)
                continue
            with opened(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)) as fd:
                if os.fstat(fd).st_dev != os.fstat(directory).st_dev and is_mount(fd):
                    clear(fd)
                    staying.add(name)
                    continue
                for inner in list_names(fd):
                    if not stat.S_ISDIR(os.lstat(inner, dir_fd=fd).st_mode):
                        os.unlink(inner, dir_fd=fd)
                        continue
                    moved += 1
                    os.rename(inner, f".{os.getpid()}.{moved}.vmstamp", src_dir_fd=fd, dst_dir_fd=directory)
            os.rmdir(name, dir_fd=directory)
    return len(staying)


def list_names(directory: int) -> list[str]:
    """The names in an open directory. Opened anew: btrfs shows a descriptor what was there at its opening."""
    with opened(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)) as fd:
        return sorted(os.listdir(fd))


def is_mount(directory: int) -> bool:
    """Whether a file system is mounted on the open directory (a btrfs subvolume is a device of its own)."""
    path = os.readlink(f"/proc/self/fd/{directory}")
    with open("/proc/self/mountinfo", "rb") as table:
        return any(line.split(b" ")[4] == os.fsencode(path) for line in table)


def empty(tree: Tree, path: str) -> bool:
    """Whether the directory had entries."""
    try:
        directory = tree.open_directory(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    with opened(directory):
        before = list_names(directory)
        clear(directory)
        os.fsync(directory)
        return list_names(directory) != before


def truncate(tree: Tree, path: str) -> bool:
    """Whether the file had bytes."""
    try:
        fd = tree.open(path, os.O_WRONLY)
    except OSError as error:
        if error.errno in ABSENT:
            return False
        raise
    with opened(fd):
        if not _regular(fd, path).st_size:
            return False
        os.ftruncate(fd, 0)
        os.fsync(fd)
    return True


def write(tree: Tree, path: str, data: bytes, mode: int = 0o644) -> bool:
    """Whether the file was made, or held other bytes. An existing one keeps all but its bytes."""
    try:
        fd = tree.open(path, os.O_RDWR)
    except FileNotFoundError:
        return _write_new(tree, path, data, mode)
    with opened(fd):
        if _regular(fd, path).st_size == len(data) and read_all(fd, len(data)) == data:
            return False
        fill(fd, data)
    return True


def _write_new(tree: Tree, path: str, data: bytes, mode: int) -> bool:
    os.close(tree.open_directory(split(path)[0], make=True))
    with opened(tree.open(path, os.O_RDWR | os.O_CREAT, mode)) as fd:
        _regular(fd, path)
        place, name = split(tree.path_of(fd))  # not `path`, when a link led to it
        with opened(tree.open_directory(place)) as parent:
            tree.adopt(parent, name)
            with suppress_unsupported():
                os.fchmod(fd, mode)
            fill(fd, data)
            os.fsync(parent)
    return True


def _regular(fd: int, path: str) -> os.stat_result:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", path)
    return status


def read_all(fd: int, size: int) -> bytes:
    """The first `size` bytes, fewer only at the end."""
    parts, offset = [], 0
    while offset < size and (part := os.pread(fd, min(size - offset, PIECE), offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def fill(fd: int, data: bytes) -> None:
    view, offset = memoryview(data), 0
    while offset < len(data):
        offset += os.pwrite(fd, view[offset : offset + PIECE], offset)
    os.ftruncate(fd, len(data))
    os.fsync(fd)


def symlink(tree: Tree, path: str, target: str) -> bool:
    """Whether there was not this link already. A directory in its place is an error."""
    above, name = split(path)
    with opened(tree.open_directory(above, make=True)) as parent:
        try:
            found = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            found = None
        if found is not None:
            if stat.S_ISLNK(found.st_mode) and os.readlink(name, dir_fd=parent) == target:
                return False
            os.unlink(name, dir_fd=parent)
        os.symlink(target, name, dir_fd=parent)
        tree.adopt(parent, name)
        os.fsync(parent)
    return True
