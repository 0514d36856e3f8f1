"""What `vmstamp doctor` found, for people: a summary, what fails first, each with why and what to do."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click

from vmstamp.cli.render import shown
from vmstamp.guest.doctor import Diagnosis, Mend, Plan, group_name
from vmstamp.guest.edits import Run, describe
from vmstamp.guest.finding import Check, Finding, Severity, Status

SLOW = ("dracut", "update-initramfs", "mkinitcpio")
INDENT = 9  # columns before the text of a finding
WIDEST = 100
COLOURS = {"FAIL": "red", "WARNING": "yellow", "LEFT": "yellow", "MENDED": "cyan", "PASS": "green"}
# What a severity means, for the heads of `--list`.
MEANINGS = {
    Severity.UPLOAD: "the disk or image is refused",
    Severity.BOOT: "the VM does not boot, or does not find its root",
    Severity.PROVISION: "the VM never reports Ready, or nobody can log in",
    Severity.SECURITY: "a secret or an identity leaks into every VM",
    Severity.BEST: "it works, but worse",
    Severity.CERTIFICATION: "only the marketplace refuses it",
}


def width_of_terminal() -> int:
    """Columns to wrap at: the terminal's, at most WIDEST; 80 where there is none."""
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, WIDEST))


def diagnosis_lines(source: str, found: Diagnosis, *, everything: bool, width: int) -> list[str]:
    """The whole report. `everything`: what passed and what does not apply as well."""
    apart = found.leftovers if not found.facts.target.without_identity else ()
    warnings = _gravest_first(one for one in found.of(Status.WARNING) if one not in apart)
    mild = [one for one in warnings if one.severity is Severity.CERTIFICATION]
    lines = summary_lines(source, found, width)
    for finding in _gravest_first(found.failures):
        lines += ["", *_finding("FAIL", finding, found, width)]
    for finding in warnings[: len(warnings) - len(mild)]:
        lines += ["", *_finding("WARNING", finding, found, width)]
    for title, findings in (("WARNING", mild), ("LEFT", apart), ("MENDED", found.to_be_mended)):
        if findings:
            lines += ["", *(line for one in findings for line in _short(title, one, width))]
    if everything:
        lines += ["", *(line for one in found.of(Status.PASS) for line in _short("PASS", one, width))]
        lines += _not_applicable(found, width)
    return lines


def _not_applicable(found: Diagnosis, width: int) -> list[str]:
    """Each reason once, with the ids that it goes for."""
    reasons: dict[str, list[str]] = {}
    for finding in found.of(Status.NOT_APPLICABLE):
        reasons.setdefault(finding.found, []).append(finding.id)
    lines: list[str] = []
    for reason, ids in reasons.items():
        lines += ["", *_hanging(f"{shown(reason)}: {', '.join(ids)}", width, f"{'-':<{INDENT}}", INDENT)]
    return lines


def _gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """By severity; what only the marketplace refuses comes last."""
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def summary_lines(source: str, found: Diagnosis, width: int) -> list[str]:
    """What the disk is and whether it is fit, in two or three sentences."""
    facts = found.facts
    system = shown(facts.os.pretty_name) if facts.os else "no operating system that this version reads"
    able = " and ".join(f"Gen{one}" for one in facts.boot.generations)
    what = [system, facts.architecture or "", f"boots as {able}" if able else "boots in no generation"]
    lines = _wrapped(f"{shown(source)}: {', '.join(part for part in what if part)}", width)
    lines += _wrapped(verdict_text(found), width, colour="green" if found.fit else "red")
    if found.leftovers and not facts.target.without_identity:
        lines += _wrapped(leftovers_text(source, found), width)
    return lines


def leftovers_text(source: str, found: Diagnosis) -> str:
    """What the leftovers make of a disk of which nothing was said."""
    count, command = _count(len(found.leftovers), "leftover"), f"vmstamp generalize {shown(source)}"
    if found.generalized:
        return f"generalized; {count} that are no identity ({command})"
    return f"not generalized: {count} ({command}); as it is, a specialized disk"


def verdict_text(found: Diagnosis) -> str:
    """`fit for Azure` or how many things fail, and the counts of the rest."""
    counts, target = found.counts(), found.facts.target
    as_what = [f"Gen{target.generation}" if target.generation else "", target.mode or ""]
    wanted = " ".join(word for word in as_what if word)
    head = (
        "fit for Azure"
        if found.fit
        else f"{_count(counts['fail'], 'thing')} fail{'s' * (counts['fail'] == 1)}"
    )
    rest = [
        _count(counts["warning"], "warning") if counts["warning"] else "",
        f"{counts['mended_by_upload']} mended by the upload" if counts["mended_by_upload"] else "",
        f"{counts['pass']} passed",
        f"{counts['not_applicable']} not applicable" if counts["not_applicable"] else "",
    ]
    return f"{head}{f' ({wanted})' if wanted else ''}; {', '.join(part for part in rest if part)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _finding(title: str, finding: Finding, found: Diagnosis, width: int) -> Iterator[str]:
    name, severity = finding.id, finding.severity.value
    gap = max(2, width - INDENT - len(name) - len(severity))
    yield f"{_word(title)}{click.style(name, bold=True) if _colours() else name}{' ' * gap}{severity}"
    yield from _hanging(shown(finding.found), width, " " * INDENT, INDENT)
    rows = [
        ("at", shown(finding.where)),
        ("why", finding.why),
        ("mend", finding.mend),
        ("", "vmstamp doctor --fix does it on a copy" if finding.id in found.fixable else ""),
        ("source", finding.source),
    ]
    for label, text in rows:
        if text:
            head = f"{'':{INDENT}}{label:<7}"
            yield from _hanging(text, width, head, len(head))


def _short(title: str, finding: Finding, width: int) -> Iterator[str]:
    """One sentence: id, what was found, where."""
    where = f" ({finding.where})" if finding.where else ""
    lines = _hanging(shown(f"{finding.id}: {finding.found}{where}"), width, " " * INDENT, INDENT + 2)
    yield _word(title) + lines[0][INDENT:]
    yield from lines[1:]


def _word(title: str) -> str:
    padded = f"{title:<{INDENT}}"
    return click.style(padded, fg=COLOURS[title]) if _colours() and title in COLOURS else padded


def _colours() -> bool:
    """click takes colours away again where there is no terminal. Spec: no-color.org."""
    return not os.environ.get("NO_COLOR")


def _hanging(text: str, width: int, first: str, indent: int) -> list[str]:
    """The text in lines of at most `width`, the first after `first`, the others `indent` columns in."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=" " * indent, break_on_hyphens=False
    )


def _wrapped(text: str, width: int, colour: str = "") -> list[str]:
    lines = _hanging(text, width, "", 2)
    return [click.style(line, fg=colour) if colour and _colours() else line for line in lines]


def plan_lines(mends: Sequence[Mend], width: int) -> list[str]:
    """What `--fix` would do, check by check."""
    lines: list[str] = []
    for mend in mends:
        lines += list(_short(mend.finding.status.upper(), mend.finding, width))
        for edit in mend.edits:
            lines += textwrap.wrap(
                shown(describe(edit)),
                width,
                initial_indent=" " * INDENT + "* ",
                subsequent_indent=" " * (INDENT + 2),
            )
        expected = mend.expected.value if mend.expected else "known when it is done"
        lines.append(f"{'':{INDENT}}then: {expected}")
    return lines


def patience_lines(plan: Plan, width: int) -> list[str]:
    """That programs of the guest will run, and for how long; nothing when none does."""
    if not any(isinstance(edit, Run) and edit.argv[0] in SLOW for edit in plan.edits):
        return []
    return textwrap.wrap("the guest's own program makes its initramfs anew: that takes some minutes", width)


def planned_lines(plan: Plan, before: Diagnosis, expected: Diagnosis, width: int) -> list[str]:
    """The answer of `--fix --plan`: each mend, and what would be found after all of them."""
    if not plan.mends:
        to_mend = any(one.mend and one.id not in before.mended for one in before.findings)
        return ["nothing of it can be mended offline" if to_mend else "there is nothing to mend"]
    lines = [*plan_lines(plan.mends, width), "", "expected:"]
    lines += [f"  {line}" for line in change_lines(before, expected)]
    open_end = "" if plan.is_foreseen else ", and what the guest's programs and the registry hives say then"
    lines += _hanging(f"  {verdict_text(expected)}{open_end}", width, "", 4)
    return [*lines, "nothing was changed"]


def change_lines(before: Diagnosis, after: Diagnosis) -> list[str]:
    """`id: before -> after` of every check whose answer has changed."""
    was = {finding.id: finding.status for finding in before.findings}
    changed = [(one.id, was[one.id], one.status) for one in after.findings if was.get(one.id) != one.status]
    width = max((len(id) for id, _, _ in changed), default=0)
    return [f"{id:<{width}}  {old} -> {new}" for id, old, new in changed]


def list_lines(checks: Sequence[Check], width: int) -> list[str]:
    """All checks, by severity: id, title, and in brackets what is special."""
    lines: list[str] = []
    wide = max((len(check.id) for check in checks), default=0)
    for severity in Severity:
        chosen = [check for check in checks if check.severity is severity]
        if chosen:
            lines += [*([""] if lines else []), f"{group_name(severity)}: {MEANINGS[severity]}"]
        for check in chosen:
            head = f"  {check.id:<{wide}}  "
            lines += _hanging(check.title + _marks(check), max(width, len(head) + 24), head, len(head))
    return lines


def _marks(check: Check) -> str:
    """What a list says beside the title: a single generation, identity, a fix."""
    marks = [f"Gen{check.generations[0]}"] if len(check.generations) == 1 else []
    marks += ["identity"] if check.identity else []
    marks += ["fix"] if check.fix else []
    return f" [{', '.join(marks)}]" if marks else ""


def check_document(check: Check) -> dict[str, object]:
    """A check's record for `--list --json`."""
    return {
        "id": check.id,
        "title": check.title,
        "severity": check.severity,
        "group": group_name(check.severity),
        "generations": list(check.generations),
        "identity": check.identity,
        "fix": check.fix is not None,
        "why": check.why,
        "mend": check.mend,
        "source": check.source,
    }
