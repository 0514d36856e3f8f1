"""build: a recipe's disk, made once and kept under the home for the next time.

`recipes/` of a home:

    <name>-<key>.vhdx     a finished disk; <key> is a hash of the recipe and its inputs
    <name>-<key>.log      what the last failed build of it said
    <name>-<key>.lock     held while that disk is built; builds of one disk wait for each other
    work-<random>/        a build under way, locked by its builder

A disk gets its final name by a rename, when it is whole. A killed build leaves only its work directory,
which the next build removes. The key covers what we decide (files, packages, size, sources), not the
versions in the archive: `refresh` builds again from what the archive holds now.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import vmstamp.disk
from vmstamp.disk import convert
from vmstamp.errors import VmstampError
from vmstamp.paths import Home
from vmstamp.recipes import debian, tiny
from vmstamp.recipes.bootstrap import LOG, Progress
from vmstamp.recipes.catalogue import Recipe, RecipeError, get_recipe
from vmstamp.recipes.layout import Ids, new_ids, root_length
from vmstamp.recipes.mirror import Source, choose_sources
from vmstamp.run import find_program, run

Writer = Callable[[Path, int, Ids, Sequence[Source], Progress], None]

PROGRAMS = ("mmdebstrap", "mkfs.ext4", "mformat", "mcopy", "setpriv")
WORK_PREFIX = "work-"
# What a destination's suffix asks for.
FORMATS = {".vhdx": "vhdx", ".vhd": "vhd-fixed", ".raw": "raw", ".img": "raw"}
# The share of the whole time that the raw disk takes; the rest is writing it as a VHDX.
RAW_SHARE = 0.95


def build(
    name: str,
    destination: Path | None,
    home: Home,
    progress: Progress,
    *,
    size: int | None = None,
    mirror: str | None = None,
    refresh: bool = False,
) -> Path:
    """The disk of a recipe as a dynamic VHDX under the home, built if it is not there; its path.

    With `destination` the disk is also written there (new file; .vhd: a fixed VHD, .raw or .img: raw, else
    VHDX) and that path is returned. `progress` is told the step and the share done, 0 to 1. `size` is the
    virtual size in bytes, whole MiB. `mirror` overrides where packages come from. Blocks for minutes.
    Raises RecipeError, ProgramMissing, ProgramError, DiskError.
    """
    recipe = get_recipe(name)
    if destination is not None and destination.exists():
        raise RecipeError(f"{destination} exists", hint="name another file, or remove it first")
    wanted = recipe.size if size is None else size
    root_length(wanted)
    sources = choose_sources(mirror, os.environ, Path("/etc"))
    with _no_space_said(home.recipes):
        home.make()
        kept = home.recipes / f"{name}-{make_key(recipe, wanted, sources)}.vhdx"
        with _locked(kept.with_suffix(".lock"), progress):
            if refresh or not kept.exists():
                _build(recipe, wanted, sources, kept, progress)
        if destination is not None:
            progress(f"writing {destination.name}", RAW_SHARE)
            _copy(kept, destination)
    progress("done", 1.0)
    return destination or kept


def make_key(recipe: Recipe, size: int, sources: Sequence[Source]) -> str:
    """A short name for a recipe and its inputs; equal keys mean that the same disk would be built."""
    digest = hashlib.sha256()
    for part in (repr(recipe), str(size), *(source.line() for source in sources)):
        digest.update(part.encode() + b"\0")
    room = Path(__file__).parent
    for path in sorted({*_shared_inputs(room), *_own_inputs(room, recipe)}):
        digest.update(str(path.relative_to(room)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _shared_inputs(room: Path) -> list[Path]:
    return [room / "layout.py", room / "bootstrap.py", room / "debian.py", room / "files" / "ext4.sh"]


def _own_inputs(room: Path, recipe: Recipe) -> list[Path]:
    """The files whose change makes another disk of this recipe."""
    if recipe.name == "tiny":
        return [room / "tiny.py", room / "cpio.py", *debian.walk(tiny.TREE)]
    return list(debian.walk(debian.TREE))


def _writer(recipe: Recipe) -> Writer:
    match recipe.name:
        case "debian-12":
            return lambda *words: debian.write_raw("cloud-init", *words)
        case "debian-12-waagent":
            return lambda *words: debian.write_raw("waagent", *words)
        case _:
            return tiny.write_raw


def _build(recipe: Recipe, size: int, sources: Sequence[Source], kept: Path, progress: Progress) -> None:
    for program in PROGRAMS:
        find_program(program)
    ids = new_ids(random.SystemRandom())
    with work_directory(kept.parent) as work:
        raw = work / "disk.raw"
        try:
            _writer(recipe)(raw, size, ids, sources, lambda step, share: progress(step, share * RAW_SHARE))
        except VmstampError as error:
            raise _with_log(error, work / LOG, kept.with_suffix(".log")) from error
        progress("writing the VHDX", RAW_SHARE)
        with vmstamp.disk.open(raw) as disk:
            convert(disk, work / "disk.vhdx", "vhdx")
        (work / "disk.vhdx").rename(kept)


def _with_log(error: VmstampError, log: Path, beside: Path) -> RecipeError:
    """The error of a failed build, once its log is kept beside the disk that was to be."""
    if not log.exists():
        return RecipeError(error.message, hint=error.hint)
    log.rename(beside)
    return RecipeError(error.message, hint="; ".join(part for part in (error.hint, f"see {beside}") if part))


def _copy(kept: Path, destination: Path) -> None:
    """Write a kept disk to a new file, beside it and renamed; shares blocks where the file system can."""
    form = FORMATS.get(destination.suffix.lower(), "vhdx")
    if form != "vhdx":
        with vmstamp.disk.open(kept) as disk:
            convert(disk, destination, form)
        return
    with tempfile.TemporaryDirectory(
        prefix=f".{destination.name}-", dir=destination.absolute().parent
    ) as beside:
        copy = Path(beside) / destination.name
        run(["cp", "--reflink=auto", "--sparse=always", kept, copy])
        copy.rename(destination)


@contextlib.contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file; waits for another process that builds the same disk."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of the same disk", 0.0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def work_directory(parent: Path) -> Iterator[Path]:
    """A locked directory for one build, removed at its end; those of killed builds are removed first."""
    for path in parent.glob(f"{WORK_PREFIX}*"):
        with contextlib.suppress(OSError), _claimed(path):
            shutil.rmtree(path)
    path = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=parent))
    try:
        with _claimed(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """Hold a directory's lock; BlockingIOError when a live process has it."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _no_space_said(directory: Path) -> Iterator[None]:
    """Turn the system's words about the home into ours."""
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        hint = "make room there, or set VMSTAMP_HOME to another place" if error.errno == errno.ENOSPC else ""
        raise RecipeError(f"{where}: {error.strerror}", hint=hint) from error
