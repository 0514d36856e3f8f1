"""`vmstamp doctor --fix`: plan the mends, carry them out on a copy, and look again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from vmstamp import disk
from vmstamp.cli.changed_copy import ELSE, WRITTEN, beside
from vmstamp.cli.render import Reporter
from vmstamp.disk import Disk
from vmstamp.disk.convert import SUFFIXES
from vmstamp.errors import DiskError, GuestError
from vmstamp.guest.doctor import Diagnosis, Plan, diagnose, diagnose_facts, plan_mends, to_be_fixed
from vmstamp.guest.edits import Edit
from vmstamp.guest.files.fs import Survey

STEM_END = ".doctored"
COPYING = ("copy", "write")  # the stages of a rework that count bytes


class Rework(Protocol):
    """What carries edits out: `workshop.rework.rework`. An `output` that is the source is replaced."""

    def __call__(
        self,
        source: Disk,
        edits: Sequence[Edit],
        output: Path,
        *,
        format: str | None,
        progress: Callable[[str, int], None],
        found: Survey,
    ) -> object: ...


@dataclass(frozen=True)
class Place:
    """Where the mended disk goes, as what format; None: it replaces the source and keeps its format."""

    path: Path
    format: str | None


@dataclass(frozen=True)
class Fixed:
    """What `--fix` planned and did.

    `expected` is what would be found after the edits, but for what only the doing shows; `after` None:
    nothing was done.
    """

    plan: Plan
    before: Diagnosis
    expected: Diagnosis
    output: Path | None = None
    after: Diagnosis | None = None

    @property
    def last(self) -> Diagnosis:
        return self.after or self.before

    def to_json(self) -> dict[str, Any]:
        return {
            "mends": [mend.to_json() for mend in self.plan.mends],
            "output": str(self.output) if self.output else None,
            "before": self.before.to_json(),
            "expected": self.expected.counts() if self.plan.mends and self.plan.is_foreseen else None,
            "after": self.after.to_json() if self.after else None,
        }


def choose_place(source: str, held: Disk, output: Path | None, *, in_place: bool) -> Place:
    """Where to write: `output`, the source itself, or beside it as NAME.doctored.SUFFIX.

    Raises GuestError when it cannot be written in place, or is there already.
    """
    format, suffix = WRITTEN.get((held.format, held.subformat), ELSE)
    if in_place:
        if not _is_plain(source) or (held.format, held.subformat) not in WRITTEN:
            raise GuestError(
                f"{source}: it cannot be mended in place: it is no plain disk file that is written here",
                hint="leave --in-place away, and a copy is made",
            )
        return Place(Path(source), None)
    path = output or _beside(source, suffix)
    if path.exists():
        raise GuestError(f"{path} is there already", hint="give another name with -o")
    if output is not None:
        kind = SUFFIXES.get(output.suffix.lower())
        if kind is None:
            raise GuestError(f"{output}: its name does not tell a format", hint="end it in .vhdx or .vhd")
        format = format if SUFFIXES.get(suffix) == kind else kind
    return Place(path, format)


def _is_plain(source: str) -> bool:
    """Whether the source is a disk file by itself: no archive, blob or managed disk."""
    try:
        with disk.open(source, follow=True):
            return True
    except (DiskError, OSError):
        return False


def _beside(source: str, suffix: str) -> Path:
    """disk.vhdx becomes disk.doctored.vhdx, in its directory; of what is no file, in the current one."""
    if "://" in source:
        name = PurePosixPath(unquote(urlsplit(source).path)).name
        return Path(f"{PurePosixPath(name).stem}{STEM_END}{suffix}")
    if source.startswith("disk:"):
        return Path(f"{source.removeprefix('disk:')}{STEM_END}{suffix}")
    return beside(Path(source), STEM_END, suffix)


def plan(before: Diagnosis, *, named: bool) -> Fixed:
    """How to mend what the diagnosis found; `named`: the checks were chosen by --only. The disk is open."""
    planned = plan_mends(before.facts, to_be_fixed(before, named=named))
    return Fixed(planned, before, diagnose_facts(planned.after, before.checks))


def carry_out(source: Disk, planned: Fixed, place: Place, report: Reporter, rework: Rework) -> Fixed:
    """Write the mended disk, then judge it by the same checks for the same target.

    Raises GuestError and DiskError; the source is then as it was, and no output is there.
    """
    before = planned.before
    with report.bar(f"mend {place.path.name}") as bar:

        def show(stage: str, count: int) -> None:
            if stage in COPYING:
                bar(count, source.size)

        rework(
            source,
            planned.plan.edits,
            place.path,
            format=place.format,
            progress=show,
            found=before.facts.survey,
        )
    with disk.open(place.path) as made:
        after = diagnose(made, before.facts.target, before.checks)
    return replace(planned, output=place.path, after=after)
