"""What of a disk will fail on Azure, and how to mend it: the checks, weighed for what the disk is to become.

Its doors: `diagnose(disk, target)` for what is found, `plan_mends(facts, checks)` for the edits that mend it,
made one check at a time, so that the next check's edits are made of what the last one's leave.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.errors import GuestError, VmstampError
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.checks.container import mended_by_upload
from vmstamp.guest.edits import Edit, Patch, Run, describe
from vmstamp.guest.facts import ANY_TARGET, Facts, Target, gather
from vmstamp.guest.finding import Check, Finding, Severity, Status, judge
from vmstamp.guest.identity import doubts_of
from vmstamp.guest.overlay import Overlay, is_unforeseen, lay_over, patched
from vmstamp.guest.system import OperatingSystem

VERSION = 1  # of the JSON document; raised when a key changes its meaning or goes
WINDOWS = "win-"  # what the ids of the checks of a Windows begin with
FILE_SYSTEMS_CLEAN = "fs-dirty"
IDENTITY_GROUP = "generalized"
BAD = (Status.FAIL, Status.WARNING)


@dataclass(frozen=True)
class Diagnosis:
    """What the checks found on `facts`, in their order.

    `mended`: the ids of failures that `vmstamp upload` mends on the way; they do not count. `identity`: the
    ids of the checks of identity, `traces` those of them that keep no disk from being generalized. `fixable`:
    what is bad and has edits that mend it.
    """

    facts: Facts = field(repr=False)
    checks: tuple[Check, ...] = field(repr=False)
    findings: tuple[Finding, ...]
    mended: frozenset[str]
    identity: frozenset[str]
    traces: frozenset[str]
    fixable: frozenset[str]

    @property
    def fit(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What would fail on Azure, even after `vmstamp upload`."""
        return tuple(f for f in self.of(Status.FAIL) if f.id not in self.mended)

    @property
    def to_be_mended(self) -> tuple[Finding, ...]:
        """What fails as the file lies, and `vmstamp upload` mends."""
        return tuple(f for f in self.of(Status.FAIL) if f.id in self.mended)

    @property
    def leftovers(self) -> tuple[Finding, ...]:
        """What of a machine is left, traces too."""
        return tuple(f for f in self.findings if f.id in self.identity and f.status in BAD)

    @property
    def generalized(self) -> bool | None:
        """Whether no identity is left, by what was asked; None when no check asked.

        As `read_identity` says it: traces do not count, and what cannot be known does.
        """
        asked = any(f.id in self.identity and f.status is not Status.NOT_APPLICABLE for f in self.findings)
        if not asked:
            return None
        left = any(finding.id not in self.traces for finding in self.leftovers)
        return not left and not any(doubts_of(self.facts.survey))

    def of(self, status: Status) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status is status)

    def counts(self) -> dict[str, int]:
        """How many of each status; what the upload mends is counted for itself."""
        return {
            "fail": len(self.failures),
            "mended_by_upload": len(self.to_be_mended),
            "warning": len(self.of(Status.WARNING)),
            "pass": len(self.of(Status.PASS)),
            "not_applicable": len(self.of(Status.NOT_APPLICABLE)),
        }

    def to_json(self) -> dict[str, Any]:
        """The document of `vmstamp doctor --json` but for its source; docs/doctor.md has the keys."""
        facts = self.facts
        return {
            "version": VERSION,
            "fit": self.fit,
            "generalized": self.generalized,
            "target": {
                "generation": facts.target.generation,
                "mode": facts.target.mode,
                "admin": facts.target.admin,
            },
            "disk": {"format": facts.disk.format, "subformat": facts.disk.subformat, "size": facts.disk.size},
            "boots": list(facts.boot.generations),
            "system": _system(facts.os, facts.architecture),
            "counts": self.counts(),
            "findings": [self._finding(finding) for finding in self.findings],
        }

    def _finding(self, finding: Finding) -> dict[str, Any]:
        return {
            **finding.to_json(),
            "identity": finding.id in self.identity,
            "fixable": finding.id in self.fixable,
            "mended_by_upload": finding.status is Status.FAIL and finding.id in self.mended,
        }


def _system(os: OperatingSystem | None, architecture: str | None) -> dict[str, Any] | None:
    if os is None:
        return None
    return {
        "kind": os.kind,
        "id": os.id,
        "version_id": os.version_id,
        "name": os.pretty_name,
        "architecture": architecture,
    }


def diagnose(disk: Disk, target: Target = ANY_TARGET, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """Look at a disk and the guest on it, and judge it by `checks` for what it is to become.

    Neither root nor a boot is needed. Raises DiskError when the disk cannot be read and GuestError when the
    guest's root file system is damaged. A disk without an operating system is no error.
    """
    return diagnose_facts(gather(disk, target), checks)


def diagnose_facts(facts: Facts, checks: Sequence[Check] = CHECKS) -> Diagnosis:
    """The same, of facts that are gathered."""
    findings = tuple(judge(check, facts) for check in checks)
    bad = {finding.id for finding in findings if finding.status in BAD}
    return Diagnosis(
        facts,
        tuple(checks),
        findings,
        mended=mended_by_upload(facts.disk),
        identity=frozenset(check.id for check in checks if check.identity),
        traces=frozenset(check.id for check in checks if check.trace),
        fixable=frozenset(check.id for check in checks if check.id in bad and edits_of(check, facts)),
    )


def edits_of(check: Check, facts: Facts) -> tuple[Edit, ...]:
    """The edits that mend what the check found; () when it cannot be mended offline."""
    try:
        return tuple(check.fix(facts)) if check.fix is not None and check.applies(facts) else ()
    except VmstampError:  # what could not be read cannot be mended either
        return ()


@dataclass(frozen=True)
class Mend:
    """One check's edits. `expected` is its status after them; None when only the doing shows it."""

    finding: Finding
    edits: tuple[Edit, ...]
    expected: Status | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.finding.id,
            "status": self.finding.status,
            "found": self.finding.found,
            "edits": [describe(edit) for edit in self.edits],
            "expected": self.expected,
        }


@dataclass(frozen=True)
class Plan:
    """The mends in order, and the facts as they would be after them, but for what only the doing shows."""

    mends: tuple[Mend, ...]
    after: Facts = field(repr=False)

    @property
    def edits(self) -> tuple[Edit, ...]:
        return all_edits(self.mends)

    @property
    def is_foreseen(self) -> bool:
        """No program runs and no hive is written: `after` is what will be."""
        return not any(is_unforeseen(edit) for edit in self.edits)


def plan_mends(facts: Facts, checks: Iterable[Check]) -> Plan:
    """The edits that mend what `checks` find, made over the files as the edits before leave them.

    Pure: nothing is written. What an earlier check's edits mend already is not mended twice.
    """
    overlay = Overlay(facts.files) if facts.files is not None else None
    made: list[tuple[Check, Mend]] = []
    current = facts
    for check in checks:
        finding = judge(check, current)
        edits = edits_of(check, current) if finding.status in BAD else ()
        if not edits or not _lay(overlay, edits):
            continue
        current = lay_over(facts, overlay) if overlay is not None else patched(current, _patches(edits))
        made.append((check, Mend(finding, edits)))
    mends = (Mend(mend.finding, mend.edits, _expected(check, mend, current)) for check, mend in made)
    return Plan(tuple(mends), current)


def _lay(overlay: Overlay | None, edits: tuple[Edit, ...]) -> bool:
    """Whether the edits can be done on these files."""
    if overlay is None:
        return True
    try:
        overlay.apply(edits)
    except GuestError:
        return False
    return True


def _patches(edits: tuple[Edit, ...]) -> dict[int, bytes]:
    return {edit.offset: edit.data for edit in edits if isinstance(edit, Patch)}


def _expected(check: Check, mend: Mend, after: Facts) -> Status | None:
    status = judge(check, after).status
    shown = after.files is not None or len(_patches(mend.edits)) == len(mend.edits)
    foreseen = shown and not any(is_unforeseen(edit) for edit in mend.edits)
    return status if foreseen or status is Status.PASS else None


def all_edits(mends: Iterable[Mend]) -> tuple[Edit, ...]:
    """The edits of all mends: those of files in order, then the programs, each once.

    What is written was made of the files before any program ran; so no program's outcome is written over,
    and `update-initramfs` finds what every mend has changed.
    """
    edits = [edit for mend in mends for edit in mend.edits]
    programs = dict.fromkeys(edit for edit in edits if isinstance(edit, Run))
    return (*(edit for edit in edits if not isinstance(edit, Run)), *programs)


def to_be_fixed(diagnosis: Diagnosis, *, named: bool) -> tuple[Check, ...]:
    """The checks whose fixes `--fix` carries out: of identity only those of a disk that is to be generalized,
    or that were `named`; and nothing that the upload mends."""
    identity = named or diagnosis.facts.target.without_identity
    return tuple(
        check
        for check in diagnosis.checks
        if (identity or not check.identity) and check.id not in diagnosis.mended
    )


def select(words: Sequence[str], checks: Sequence[Check] = CHECKS) -> tuple[Check, ...]:
    """The checks that ids and names of groups choose, in the checks' order; all when there are no words.

    Raises VmstampError for a word that is neither, with those that it may have meant.
    """
    groups = groups_of(checks)
    chosen: set[str] = set()
    for word in words:
        if word in groups:
            chosen.update(groups[word])
        elif any(check.id == word for check in checks):
            chosen.add(word)
        else:
            raise VmstampError(f"there is no check or group {word!r}", hint=_near(word, checks, groups))
    return tuple(check for check in checks if not words or check.id in chosen)


def _near(word: str, checks: Sequence[Check], groups: dict[str, frozenset[str]]) -> str:
    names = [*groups, *(check.id for check in checks)]
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.5) or [n for n in names if word in n][:3]
    return f"did you mean {' or '.join(near)}?" if near else "vmstamp doctor --list shows them all"


def groups_of(checks: Sequence[Check]) -> dict[str, frozenset[str]]:
    """The ids of each group: by severity, by system, by generation of VM, and those of identity.

    Whether identity is left is known of clean file systems only, so that is asked with it.
    """

    def ids(chosen: Iterator[Check]) -> frozenset[str]:
        return frozenset(check.id for check in chosen)

    groups = {group_name(severity): ids(c for c in checks if c.severity is severity) for severity in Severity}
    groups[IDENTITY_GROUP] = ids(c for c in checks if c.identity or c.id == FILE_SYSTEMS_CLEAN)
    groups["windows"] = ids(c for c in checks if c.id.startswith(WINDOWS))
    groups["linux"] = ids(c for c in checks if not c.id.startswith(WINDOWS))
    for generation in (1, 2):
        groups[f"gen{generation}"] = ids(c for c in checks if generation in c.generations)
    return groups


def group_name(severity: Severity) -> str:
    """How a severity is typed: upload, boot, provision, security, best, certification."""
    return severity.name.lower()
