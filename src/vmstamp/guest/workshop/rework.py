"""rework: edits carried out on a copy of a disk, by the kernel's own drivers, without root and without boot.

    source --copy of the data--> a raw file without a name --User Mode Linux edits it--> --convert--> output

The source is only read. The working copy lies on the file system of the output and never has a name, so not
even SIGKILL leaves it behind; the output takes its name when it is whole. An edit that fails
leaves no output.
User Mode Linux boots while the copy is still made: its executor waits for our word (`uml`).
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.disk.convert import SUFFIXES, WRITERS
from vmstamp.disk.data import copy_data
from vmstamp.disk.file import ImageFile, check_target, replacing, write_at, write_error
from vmstamp.disk.raw import RawDisk
from vmstamp.disk.rewrite import refuse_rewriting, write_like
from vmstamp.errors import DiskError, GuestError
from vmstamp.extents import Extent
from vmstamp.guest.edits import Edit, GuestEdit, Patch, Run, describe
from vmstamp.guest.files.fs import Survey, survey
from vmstamp.guest.workshop.plan import make_plan
from vmstamp.guest.workshop.uml import Uml
from vmstamp.syscalls import punch_hole

PATIENCE = 600.0  # seconds that User Mode Linux may take, beside the time-outs of programs
FULL = 1024 * 1024  # bytes: who has less is out of space

Progress = Callable[[str, int], None]  # (stage: "copy", "edit" or "write"; bytes done, or edits)


@dataclass(frozen=True)
class Result:
    """What one edit did: whether anything `changed`, and the `output` of a program (its last 64 KiB)."""

    edit: Edit
    changed: bool
    output: str = field(default="", repr=False)


@dataclass(frozen=True)
class Outcome:
    """A finished rework. `trimmed` bytes of free space were given back; `notes` say what was not mounted.

    `seconds` tells how long each stage took: copy, edit (what of User Mode Linux came after it), write.
    """

    output: Path
    results: tuple[Result, ...]
    trimmed: int = 0
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return any(result.changed for result in self.results)


def rework(
    source: Disk,
    edits: Sequence[Edit],
    output: Path,
    *,
    format: str | None = None,
    progress: Progress | None = None,
    found: Survey | None = None,
    zero_free: bool = False,
    replay: bool = False,
    overwrite: bool = True,
    patience: float = PATIENCE,
) -> Outcome:
    """Write `source` with `edits` done, in their order, to `output` as `format`, one of disk.convert.WRITERS.

    By default the name's end chooses the format. When `output` is the source's own file, that is replaced by
    a file of its own format and id; a disk with parents is refused. `zero_free` gives the free space back, as
    fstrim does. `replay` allows a file system that was not unmounted: its journal is replayed. `found`
    is the source's survey when the caller has it. Blocks.

    Raises GuestError for what cannot be done or failed, DiskError for the disks, ProgramMissing.
    """
    tell = progress or (lambda stage, count: None)
    in_place = _is_same(source, output)
    kind = format or SUFFIXES.get(output.suffix.lower())
    _refuse_target(source, output, kind, overwrite)
    patches = [edit for edit in edits if isinstance(edit, Patch)]
    inside = [edit for edit in edits if not isinstance(edit, Patch)]
    plan = None  # of what is done in the guest; patches alone need neither a guest nor its drivers
    if inside or zero_free or not patches:
        plan = make_plan(source, found or survey(source), inside, replay=replay, trim=zero_free)
    _refuse_full(source, output, raw=kind == "raw")
    patience += sum(edit.timeout for edit in edits if isinstance(edit, Run))
    if kind == "raw" and not in_place:
        with replacing(output, overwrite=overwrite) as fd:
            answer, seconds = _edit_copy(source, fd, plan, patches, output, patience, tell)
            results = _results(edits, answer)
        seconds["write"] = 0.0
    else:
        with _scratch(output) as fd:
            answer, seconds = _edit_copy(source, fd, plan, patches, output, patience, tell)
            results = _results(edits, answer)
            start = time.monotonic()
            with RawDisk(ImageFile.from_descriptor(os.dup(fd), output)) as copy:
                copy.sector_size = source.sector_size
                written = _giving_back(fd, copy, lambda count: tell("write", count))
                if in_place:
                    write_like(source, copy, output, written)
                else:
                    WRITERS[str(kind)](copy, output, written)
            seconds["write"] = time.monotonic() - start
    notes = tuple(str(note) for note in answer.get("notes", ()))
    return Outcome(output, results, int(answer.get("trimmed", 0)), notes, seconds)


def _is_same(source: Disk, output: Path) -> bool:
    return source.path is not None and output.exists() and output.samefile(source.path)


def _refuse_target(source: Disk, output: Path, kind: str | None, overwrite: bool) -> None:
    """DiskError when `output` may not be written, or not in this format."""
    if _is_same(source, output):
        if source.parent is not None or source.subformat == "differencing":
            what = "is a differencing disk, and is not reworked in place"
            raise DiskError(output, what, hint="name another file to write")
        refuse_rewriting(source, output)
        return
    parent = source.parent
    while parent is not None:
        if _is_same(parent, output):
            raise DiskError(output, "is a parent of the source", hint="name another file to write")
        parent = parent.parent
    if kind not in WRITERS:
        what = f"cannot be written as {kind}" if kind else "its name does not tell a format"
        raise DiskError(output, what, hint=f"formats written: {', '.join(WRITERS)}")
    try:
        check_target(output, overwrite)
    except OSError as error:
        raise write_error(output, error) from error


def _refuse_full(source: Disk, output: Path, *, raw: bool) -> None:
    """DiskError when the working copy, and the output beside it, would not fit."""
    directory = output.absolute().parent
    if not directory.is_dir():
        raise DiskError(output, f"there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise DiskError(output, f"the directory {directory} cannot be written", hint="name another file")
    data = sum(extent.end - extent.start for extent in source.extents())
    need = data if raw else 2 * data
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    if need > free:
        raise DiskError(
            output,
            f"the working copy and the output may take {need} bytes, but {free} are free in {directory}",
            hint="free some space, or write to another file system",
        )


@contextmanager
def _scratch(output: Path) -> Iterator[int]:
    """A descriptor of a file without a name beside the output."""
    try:
        fd, name = tempfile.mkstemp(dir=output.absolute().parent, prefix=".vmstamp-")
        Path(name).unlink()
    except OSError as error:
        raise write_error(output, error) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _edit_copy(
    source: Disk,
    fd: int,
    plan: dict[str, Any] | None,
    patches: Sequence[Patch],
    output: Path,
    patience: float,
    tell: Progress,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Fill the file `fd` with the disk, patched, and have the plan carried out on it: answer and seconds."""
    start = time.monotonic()
    answer: dict[str, Any] = {"results": []}
    try:
        os.ftruncate(fd, source.data_size)
        if plan is None:
            _fill(source, fd, patches, tell)
            copied = time.monotonic()
        else:
            with Uml(fd, plan) as uml:
                _fill(source, fd, patches, tell)
                copied = time.monotonic()
                uml.go()
                answer = uml.wait(patience)
                if "error" in answer and _is_full(fd):  # to the guest it was a disk that fails
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        tell("edit", len(patches) + (len(plan["edits"]) if plan else 0))
    except OSError as error:
        raise write_error(output, error) from error
    return answer, {"copy": copied - start, "edit": time.monotonic() - copied}


def _fill(source: Disk, fd: int, patches: Sequence[Patch], tell: Progress) -> None:
    """The disk's bytes, without the footer of a fixed VHD, and the patches over them."""
    if not source.clone(fd):
        copy_data(source, fd, lambda offset: offset, progress=lambda count: tell("copy", count))
    os.ftruncate(fd, source.data_size)
    for patch in patches:
        if not 0 <= patch.offset <= source.data_size - len(patch.data):
            raise GuestError(f"{describe(patch)}: not inside the disk")
        write_at(fd, patch.data, patch.offset)


def _giving_back(fd: int, copy: Disk, tell: Callable[[int], None]) -> Callable[[int], None]:
    """A writer's progress that gives back what was written of the working copy in the file `fd`.

    So working copy and output together need little more than one of them, and the kernel has the freed
    memory at hand for what is written next, where new memory can cost more than the copying.
    """
    pending = list(copy.extents())[::-1]

    def written(count: int) -> None:
        tell(count)
        while count and pending:  # a footer comes after the disk
            start, end = pending.pop()
            stop = min(end, start + count)
            punch_hole(fd, start, stop - start)
            count -= stop - start
            if stop < end:
                pending.append(Extent(stop, end))

    return written


def _is_full(fd: int) -> bool:
    status = os.fstatvfs(fd)
    return status.f_bavail * status.f_frsize < FULL


def _results(edits: Sequence[Edit], answer: dict[str, Any]) -> tuple[Result, ...]:
    """One result for each edit; GuestError when the answer, which is of those in the guest, is an error."""
    inside: list[GuestEdit] = [edit for edit in edits if not isinstance(edit, Patch)]
    if "error" in answer:
        number = answer.get("edit")
        failed = f"{describe(inside[number])}: " if isinstance(number, int) and number < len(inside) else ""
        raise GuestError(f"{failed}{answer['error']}", hint=str(answer.get("hint", "")))
    found = answer.get("results", ())
    if len(found) != len(inside):
        raise GuestError(f"User Mode Linux answered for {len(found)} of {len(inside)} edits")
    rest = iter(found)
    return tuple(
        Result(edit, True)
        if isinstance(edit, Patch)
        else Result(edit, bool((one := next(rest))["changed"]), str(one["output"]))
        for edit in edits
    )
