"""`vmstamp doctor --fix`: plan the mends, carry them out on a copy, and look again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from vmstamp import disk
from vmstamp.cli.render import Reporter
from vmstamp.disk import Disk
from vmstamp.disk.convert import SUFFIXES
from vmstamp.errors import GuestError
from vmstamp.guest.doctor import Diagnosis, Mend, all_edits, diagnose, plan_mends, to_be_fixed
from vmstamp.guest.edits import Edit

STEM_END = ".doctored"
# What is written of a disk of this (format, subformat); what is not here becomes a VHDX.
WRITTEN = {
    ("raw", ""): ("raw", ".raw"),
    ("vhd", "fixed"): ("vhd-fixed", ".vhd"),
    ("vhd", "dynamic"): ("vhd-dynamic", ".vhd"),
    ("vhdx", "dynamic"): ("vhdx", ".vhdx"),
    ("vhdx", "fixed"): ("vhdx-fixed", ".vhdx"),
    ("qcow2", ""): ("qcow2", ".qcow2"),
    ("qcow2", "dynamic"): ("qcow2", ".qcow2"),
    ("vmdk", ""): ("vmdk", ".vmdk"),
    ("vmdk", "dynamic"): ("vmdk", ".vmdk"),
}
ELSE = ("vhdx", ".vhdx")


class Rework(Protocol):
    """What carries edits out: `vmstamp.guest.workshop.rework`."""

    def __call__(
        self,
        source: Disk,
        edits: Sequence[Edit],
        output: Path,
        *,
        format: str,
        progress: Callable[[int], None],
    ) -> object: ...


@dataclass(frozen=True)
class Place:
    """Where the mended disk goes. `path` may be the source itself (`in_place`)."""

    path: Path
    format: str
    in_place: bool = False


@dataclass(frozen=True)
class Fixed:
    """What `--fix` planned and did; `after` None: nothing was done."""

    mends: tuple[Mend, ...]
    output: Path | None
    before: Diagnosis
    after: Diagnosis | None

    @property
    def last(self) -> Diagnosis:
        return self.after or self.before

    def to_json(self) -> dict[str, Any]:
        return {
            "mends": [mend.to_json() for mend in self.mends],
            "output": str(self.output) if self.output else None,
            "before": self.before.to_json(),
            "after": self.after.to_json() if self.after else None,
        }


def choose_place(source: str, held: Disk, output: Path | None, *, in_place: bool) -> Place:
    """Where to write: `output`, the source itself, or beside it as NAME.doctored.SUFFIX.

    Raises GuestError when it cannot be written in place, or is there already.
    """
    format, suffix = WRITTEN.get((held.format, held.subformat), ELSE)
    if in_place:
        if held.path is None or str(held.path) != source or (held.format, held.subformat) not in WRITTEN:
            raise GuestError(
                f"{source}: it cannot be mended in place: it is no plain disk file that is written here",
                hint="leave --in-place away, and a copy is made",
            )
        return Place(held.path, format, in_place=True)
    path = output or _beside(source, suffix)
    if path.exists():
        raise GuestError(f"{path} is there already", hint="give another name with -o")
    if output is not None:
        kind = SUFFIXES.get(output.suffix.lower())
        if kind is None:
            raise GuestError(f"{output}: its name does not tell a format", hint="end it in .vhdx or .vhd")
        format = format if SUFFIXES.get(suffix) == kind else kind
    return Place(path, format)


def _beside(source: str, suffix: str) -> Path:
    """disk.vhdx becomes disk.doctored.vhdx, in its directory; of what is no file, in the current one."""
    if "://" in source:
        name = PurePosixPath(unquote(urlsplit(source).path)).name
        return Path(f"{PurePosixPath(name).stem}{STEM_END}{suffix}")
    if source.startswith("disk:"):
        return Path(f"{source.removeprefix('disk:')}{STEM_END}{suffix}")
    path = Path(source)
    stem = path.name
    while PurePosixPath(stem).suffix.lower() in (*SUFFIXES, *PACKED):
        stem = PurePosixPath(stem).stem
    return path.with_name(f"{stem}{STEM_END}{suffix}")


PACKED = (".gz", ".xz", ".zst", ".bz2", ".tar", ".vdi")


def plan(before: Diagnosis, *, named: bool) -> tuple[Mend, ...]:
    """The mends of what the diagnosis found; `named`: the checks were chosen by --only."""
    return plan_mends(before.facts, to_be_fixed(before, named=named))


def carry_out(
    source: Disk, before: Diagnosis, mends: tuple[Mend, ...], place: Place, report: Reporter, rework: Rework
) -> Fixed:
    """Write the mended disk, then judge it by the same checks for the same target.

    In place, the new file is written beside and takes the old one's name when it is whole. Raises GuestError
    and DiskError; the source is then as it was.
    """
    written = place.path.with_name(f".{place.path.name}{STEM_END}") if place.in_place else place.path
    try:
        with report.bar(f"mend {place.path.name}") as bar:
            rework(
                source,
                all_edits(mends),
                written,
                format=place.format,
                progress=lambda done: bar(done, source.size),
            )
        if place.in_place:
            written.replace(place.path)
    except BaseException:
        if place.in_place:
            written.unlink(missing_ok=True)
        raise
    with disk.open(place.path) as made:
        after = diagnose(made, before.facts.target, before.checks)
    return Fixed(mends, place.path, before, after)
