"""Check and Finding: what is looked at on a disk, and what was found.

A check is a record: the list of checks, the documents and the report all come from the records. `run` gives
a Verdict; `judge` joins both into the Finding that people see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vmstamp.errors import VmstampError

if TYPE_CHECKING:
    from vmstamp.guest.edits import Edit
    from vmstamp.guest.facts import Facts


GENERATION = "gen-detect"  # the check of whether any generation of VM boots the disk


class Status(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    WARNING = "warning"
    NOT_APPLICABLE = "not applicable"


class Severity(StrEnum):
    """What happens on Azure when a check fails."""

    UPLOAD = "upload"  # the disk or image is refused
    BOOT = "boot"  # the VM does not boot, or does not find its root
    PROVISION = "provision"  # the VM never reports Ready, or nobody can log in
    SECURITY = "security"  # a secret or an identity leaks into every VM
    BEST = "best practice"  # it works, but worse
    CERTIFICATION = "certification"  # only the marketplace refuses it


@dataclass(frozen=True)
class Verdict:
    """What a check found: `found` a sentence without a full stop, `where` a path or position."""

    status: Status
    found: str
    where: str = ""


def passed(found: str, where: str = "") -> Verdict:
    return Verdict(Status.PASS, found, where)


def failed(found: str, where: str = "") -> Verdict:
    return Verdict(Status.FAIL, found, where)


def warned(found: str, where: str = "") -> Verdict:
    return Verdict(Status.WARNING, found, where)


def not_applicable(found: str) -> Verdict:
    return Verdict(Status.NOT_APPLICABLE, found)


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    `id` never changes, `why` is what would happen on Azure, `source` who says so, `mend` what to do.
    `applies` says whether the question makes sense for these facts; `run` answers it (pure but for reads of
    the disk; GuestError where the guest cannot be read). `generations` are those of VM that it is about.
    `identity` is for checks of what a generalized disk must not have and a specialized one keeps on purpose;
    `trace` for those of them whose leftovers do not keep a disk from being called generalized.
    `fix` gives the edits that mend what `run` found (pure; empty when this case cannot be mended offline);
    None when it never can be.
    """

    id: str
    title: str
    severity: Severity
    why: str
    source: str
    applies: Callable[[Facts], bool]
    run: Callable[[Facts], Verdict]
    mend: str
    generations: tuple[int, ...] = (1, 2)
    identity: bool = False
    trace: bool = False
    fix: Callable[[Facts], Iterable[Edit]] | None = None


@dataclass(frozen=True)
class Finding:
    """A check's answer for one disk. `mend` is '' unless something is to be mended."""

    id: str
    status: Status
    title: str
    found: str
    where: str
    why: str
    mend: str
    severity: Severity
    source: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(check: Check, facts: Facts) -> Finding:
    """Run one check and weigh its verdict for the target.

    What cannot be read is a warning that says so, never a pass; no disk is called free of identity for it.
    """
    try:
        reason = _beside_the_target(check, facts)
        if not reason and not check.applies(facts):
            reason = "not a question for this disk"
        verdict = not_applicable(reason) if reason else weigh(check, check.run(facts), facts)
    except VmstampError as error:
        unknown = failed(f"could not be checked: {error.message}")
        verdict = weigh(check, unknown, facts) if check.identity else replace(unknown, status=Status.WARNING)
    bad = verdict.status in (Status.FAIL, Status.WARNING)
    return Finding(
        check.id,
        verdict.status,
        check.title,
        verdict.found,
        verdict.where,
        check.why,
        check.mend if bad else "",
        check.severity,
        check.source,
    )


def _beside_the_target(check: Check, facts: Facts) -> str:
    """Why the check is no question for what the disk is to become; '' when it is one."""
    if check.identity and facts.target.mode == "specialized":
        return "a specialized disk keeps its identity"
    if not set(check.generations) & set(facts.generations):
        names = " and ".join(f"Gen{generation}" for generation in check.generations)
        return f"a question for {names} only"
    return ""


def weigh(check: Check, verdict: Verdict, facts: Facts) -> Verdict:
    """The verdict as it counts for the target.

    Identity that is left fails only a disk that is to be generalized, the marketplace's rules only a disk
    that goes there. An identity check's own warning is a trace, which never fails. That a disk boots is not
    enough when it does not boot in the target's generation.
    """
    target, able = facts.target, facts.boot.generations
    if check.id == GENERATION and able and target.generation not in (None, *able):
        names = " and ".join(f"Gen{generation}" for generation in able)
        return failed(f"boots as {names}, not as Gen{target.generation}", verdict.where)
    if check.identity and verdict.status is Status.FAIL and not target.without_identity:
        return replace(verdict, status=Status.WARNING)
    if check.severity is Severity.CERTIFICATION:
        if verdict.status is Status.WARNING and target.mode == "marketplace":
            return replace(verdict, status=Status.FAIL)
        if verdict.status is Status.FAIL and target.mode != "marketplace":
            return replace(verdict, status=Status.WARNING)
    return verdict
