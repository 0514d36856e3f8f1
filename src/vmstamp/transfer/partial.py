"""A file that is being downloaded: beside its name until it is whole, with a journal of what is there.

    .NAME.partial           the file at its full size, sparse
    .NAME.partial.journal   a line of JSON that tells of what it is a part, then a line for every range
                            written: `START END`; `synced`: all before is on the disk

A range is journaled after it was written, so the end of the process, whatever ends it, costs what was in
flight. What was written before the machine's last start counts up to `synced`, which is added whenever the
process can end in order.

The file is locked while it is written; a journal of another blob, ETag, size or format begins it anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from vmstamp.disk.data import nonzero
from vmstamp.disk.file import check_target, take_after, take_name, write_at, write_error
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, Extents

SYNCED = "synced"
KEPT_NOTE = "what was received is kept: the same command continues"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Source: random(4)


def partial_path(path: Path) -> Path:
    """The name of a file that is not whole."""
    return path.with_name(f".{path.name}.partial")


def journal_path(path: Path) -> Path:
    """The name of its journal."""
    return path.with_name(f".{path.name}.partial.journal")


def read_journal(text: str, about: Mapping[str, object], boot: str) -> Extents:
    """The ranges that a journal tells to be there; none when it is about something else.

    A torn end is left out; so is what was not `synced` when the machine was started since (`boot` differs).
    """
    first, _, rest = text.partition("\n")
    try:
        found = json.loads(first)
    except ValueError:
        return Extents()
    if not isinstance(found, dict) or found.pop("boot", None) is None or found != dict(about):
        return Extents()
    lines = rest.split("\n")[:-1]
    if json.loads(first)["boot"] != boot:
        last = max((number for number, line in enumerate(lines) if line == SYNCED), default=0)
        lines = lines[:last]
    return Extents(_range(line) for line in lines if line != SYNCED)


def _range(line: str) -> tuple[int, int]:
    start, _, end = line.partition(" ")
    return (int(start), int(end)) if start.isdigit() and end.isdigit() else (0, 0)


class PartialFile:
    """The file, open and locked. Thread-safe: workers write different ranges."""

    def __init__(self, path: Path, size: int, about: Mapping[str, object], *, resume: bool) -> None:
        self.path = path
        self.written = False  # whether anything was added to it
        self._lock = threading.Lock()
        self._fd = os.open(partial_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            self._take_lock()
            self.done = self._continue(size, about) if resume else Extents()
            if not self.done:
                os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, size)
            self._journal = self._begin_journal(about)
        except BaseException:
            os.close(self._fd)
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DiskError(
                self.path, "another download writes it now", hint="wait for it, or name another file"
            ) from error

    def _continue(self, size: int, about: Mapping[str, object]) -> Extents:
        if os.fstat(self._fd).st_size != size:
            return Extents()
        with suppress(FileNotFoundError):
            return read_journal(journal_path(self.path).read_text("ascii", "replace"), about, _boot())
        return Extents()

    def _begin_journal(self, about: Mapping[str, object]) -> int:
        """Write the journal anew, in short: what it goes on from; then it is appended to."""
        lines = [json.dumps({**about, "boot": _boot()}), *(f"{start} {end}" for start, end in self.done)]
        beside = journal_path(self.path).with_suffix(".new")
        beside.write_text("".join(f"{line}\n" for line in lines), "ascii")
        beside.replace(journal_path(self.path))
        return os.open(journal_path(self.path), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, span: Extent, data: bytes) -> None:
        """Write a range, without its runs of zeros, and journal it. Raises OSError."""
        for start, end in nonzero(data, span.start):
            write_at(self._fd, memoryview(data)[start - span.start : end - span.start], start)
        with self._lock:
            os.write(self._journal, f"{span.start} {span.end}\n".encode())
        self.written = True

    def sync(self) -> None:
        """Force what is there to the disk, and journal that."""
        os.fdatasync(self._fd)
        os.write(self._journal, f"{SYNCED}\n".encode())
        os.fsync(self._journal)

    def finish(self, replaces: bool) -> None:
        """Give the whole file its name. Raises FileExistsError when that is taken, unless it `replaces`."""
        if replaces:
            take_after(self._fd, self.path)
            os.fsync(self._fd)
        take_name(partial_path(self.path), self.path, overwrite=replaces)
        self.forget()

    def forget(self) -> None:
        """Remove the file and its journal."""
        partial_path(self.path).unlink(missing_ok=True)
        journal_path(self.path).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._journal)
        os.close(self._fd)


def _boot() -> str:
    """What changes with every start of the machine; '' where the kernel does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@contextmanager
def writing(
    path: Path, size: int, about: Mapping[str, object], *, overwrite: bool, resume: bool
) -> Iterator[PartialFile]:
    """A partial file that takes the name `path` when the block ends well; else it stays, to be continued.

    `about` is JSON that tells of what it is a part. A file of that name is refused first unless `overwrite`.
    What cannot be written goes, and what has nothing in it. OSError becomes DiskError.
    """
    try:
        replaces = check_target(path, overwrite)
        partial = PartialFile(path, size, about, resume=resume)
    except OSError as error:
        raise write_error(path, error) from error
    with partial:
        try:
            yield partial
            partial.finish(replaces)
        except OSError as error:
            partial.forget()
            raise write_error(path, error) from error
        except BaseException as error:
            with suppress(OSError):
                if partial.written or partial.done:
                    partial.sync()
                else:
                    partial.forget()
            if isinstance(error, KeyboardInterrupt) and partial_path(path).exists():
                error.add_note(KEPT_NOTE)
            raise
