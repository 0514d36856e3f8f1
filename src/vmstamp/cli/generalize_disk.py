"""`vmstamp generalize`: a plan made on a disk file, carried out on a copy, and the copy looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from vmstamp import disk
from vmstamp.cli.changed_copy import ELSE, WRITTEN, beside
from vmstamp.cli.render import Reporter, Tally, hanging, shown, table
from vmstamp.disk import Disk
from vmstamp.disk.convert import SUFFIXES
from vmstamp.errors import GuestError
from vmstamp.guest.files.fs import Survey
from vmstamp.guest.generalize import Plan, Task, look, plan, plan_windows
from vmstamp.guest.identity import Identity, Leftover, Severity, read_identity
from vmstamp.guest.identity.step import Choice, Default, Guest, Step, plain
from vmstamp.guest.windows.system import is_windows

STEM_END = ".generalized"
ANSWER_LIMIT = 1024 * 1024  # bytes of an answer file
PLACES = 3  # places of a step that are listed for people; --json has all
SHOWN = 20  # leftovers of a kind that are listed for people; --json has all


@dataclass(frozen=True)
class Place:
    """Where the result goes: `path`, as `format`. `asked`: it was named."""

    path: Path
    format: str
    asked: bool


def choose_place(source: Path, held: Disk, output: Path | None, *, in_place: bool, overwrite: bool) -> Place:
    """The source itself, `output`, or beside the source as NAME.generalized.SUFFIX.

    Raises GuestError when it is there already, its name tells no format, or it cannot be written in place.
    """
    format, suffix = WRITTEN.get((held.format, held.subformat), ELSE)
    if in_place:
        if held.path != source or (held.format, held.subformat) not in WRITTEN:
            raise GuestError(
                f"{source}: it cannot be written in place: it is no plain disk file that is written here",
                hint="leave --in-place away, and a copy is made",
            )
        return Place(source, format, asked=True)
    path = output or beside(source, STEM_END, suffix)
    if path.exists() and (not overwrite or path.samefile(source)):
        hint = (
            "--in-place replaces the source"
            if path.samefile(source)
            else "-o COPY names another, or --overwrite"
        )
        raise GuestError(f"{path} is there already", hint=hint)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise GuestError(f"{path}: its name does not tell a format", hint="end it in .vhdx, .vhd or .raw")
    return Place(path, format if SUFFIXES.get(suffix) == kind else kind, asked=output is not None)


@dataclass(frozen=True)
class Generalized:
    """What was planned for `source`, and done; `output` None: nothing was written. `left`: what is left."""

    source: Path
    plan: Plan
    output: Path | None
    left: Identity

    def to_json(self) -> dict[str, Any]:
        """Keys: source, output, tasks, generalized, leftovers."""
        return {
            "source": self.source,
            "output": self.output,
            "tasks": [task.to_json() for task in self.plan.tasks],
            **self.left.to_json(),
        }


def refuse_elsewhere(file: Path) -> None:
    """GuestError, with what to do, for a blob's URL or `disk:NAME`; no part of a URL is told, for its SAS."""
    text = str(file)
    if text.lower().startswith(("http:/", "https:/")):
        raise GuestError(
            "a page blob is not generalized where it is",
            hint="bring it here: vmstamp download 'URL' FILE; after that: vmstamp generalize FILE",
        )
    if text.startswith("disk:") and not file.exists():
        raise GuestError(
            f"{shown(text)}: a managed disk is not generalized where it is",
            hint=f"of a running VM: vmstamp vm generalize VM; else: vmstamp download {shown(text)} FILE, and "
            "vmstamp generalize FILE",
        )


def absent_users(found: Survey, choice: Choice) -> list[str]:
    """Users who are to be removed and are not on the disk: gone already, or mistyped."""
    assert found.files is not None
    there = {user.name for user in Guest(found.files).users}
    return sorted(choice.users - there)


def read_answer_file(path: Path) -> bytes:
    """GuestError when it is too long to be one."""
    with path.open("rb") as file:
        data = file.read(ANSWER_LIMIT + 1)
    if len(data) > ANSWER_LIMIT:
        raise GuestError(f"{path}: more than {ANSWER_LIMIT} bytes are no answer file")
    return data


def make_plan(held: Disk, choice: Choice, answer_file: bytes | None) -> tuple[Survey, Plan]:
    """Raises GuestError for what cannot be generalized offline."""
    found = look(held)
    assert found.files is not None
    if is_windows(found.files):
        return found, plan_windows(found, answer_file, choice)
    if answer_file is not None:
        raise GuestError(f"{held.path}: an answer file is for Windows, and there is none on it")
    return found, plan(found, choice)


def carry_out(
    held: Disk,
    source: Path,
    found: Survey,
    planned: Plan,
    place: Place,
    report: Reporter,
    *,
    zero_free: bool,
) -> Generalized:
    """Write the generalized disk and read it again. GuestError and DiskError leave the source as it was.

    An empty plan writes nothing, unless a copy was asked for.
    """
    if not planned.edits and (not place.asked or place.path == source):
        return Generalized(source, planned, None, planned.left)
    total = sum(extent.end - extent.start for extent in held.extents())
    with report.bar(place.path.name) as bar:
        tally = Tally(bar, 2 * total)  # copied, then written
        if planned.edits:
            from vmstamp.guest.workshop.rework import rework

            rework(
                held,
                planned.edits,
                place.path,
                format=place.format,
                progress=lambda stage, count: None if stage == "edit" else tally(count),
                found=found,
                zero_free=zero_free,
            )
        else:
            disk.convert(held, place.path, place.format, tally)
    with disk.open(place.path) as made:
        left = read_identity(made)
    return Generalized(source, planned, place.path, left)


def plan_lines(planned: Plan) -> list[str]:
    """The plan for people: a step a line, and below it where it finds something."""
    if not planned.tasks:
        return ["nothing is to be done"]
    rows = [(task.step.id, task.step.title, task.step.severity) for task in planned.tasks]
    head, *lines = table(("step", "what it does", "kind"), rows)
    found = [[line, *_place_lines(task)] for line, task in zip(lines, planned.tasks, strict=True)]
    return [head, *chain.from_iterable(found)]


def _place_lines(task: Task) -> list[str]:
    lines = [f"  {shown(plain(place.where))}: {shown(plain(place.detail))}" for place in task.places[:PLACES]]
    more = len(task.places) - PLACES
    return [*lines, f"  and {more} more: --json lists them"] if more > 0 else lines


def left_lines(left: Identity) -> list[str]:
    """What is left for people, identity first."""
    lines: list[str] = []
    for severity in (Severity.IDENTITY, Severity.TRACE):
        leftovers = left.of(severity)
        lines += [_left_line(one) for one in leftovers[:SHOWN]]
        if len(leftovers) > SHOWN:
            lines.append(f"  {severity:8}  and {len(leftovers) - SHOWN} more: --json lists them")
    return lines


def _left_line(one: Leftover) -> str:
    return f"  {one.severity:8}  {one.id}: {shown(one.where)}: {shown(one.detail)}"


def verdict_lines(name: Path, left: Identity, *, planned: bool) -> list[str]:
    """Whether it is generalized, or (`planned`) would be, and what is left."""
    verb = "would be" if planned else "is"
    traces = len(left.of(Severity.TRACE))
    if left.generalized:
        more = f"; {traces} {'trace is' if traces == 1 else 'traces are'} left" if traces else ""
        return [f"{name}: {verb} generalized{more}", *left_lines(left)]
    ids = sorted({one.id for one in left.of(Severity.IDENTITY)})
    return [f"{name}: {verb} not generalized, identity is left: {', '.join(ids)}", *left_lines(left)]


def list_lines(steps: Sequence[Step]) -> list[str]:
    """All steps for people, by default."""
    lines = []
    heads = {
        Default.ON: "done by default (--keep ID leaves it out):",
        Default.OFF: "done when asked for (--also ID):",
        Default.NEVER: "never done, with the reason:",
    }
    for default, head in heads.items():
        lines += [head]
        for step in steps:
            if step.default is default:
                kind = "" if default is Default.NEVER else step.severity
                head = f"  {step.id:22} {kind:8}  "
                lines += [*hanging(head, step.title), *hanging(" " * len(head), step.why)]
        lines += [""]
    return lines[:-1]
