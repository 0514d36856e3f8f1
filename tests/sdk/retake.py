"""Runs the SDK's tests and says where expected.toml is wrong: `python -m tests.sdk.retake [--write]`.

Prints tests that are listed and pass, and failures that are not listed, by the text of their error; those
that fit a group's `errors` name the group. With --write the list is made anew: tests that pass leave it,
failures that fit a group enter it, counts and docs/sdk-tests.md follow. What fits no group stays unlisted:
give it to a group by hand, or mend the server. `--outcomes FILE` keeps the outcomes; `--from FILE` takes
them from there instead of running.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from tests.sdk import report, source, suite
from tests.sdk.expected import FILE, Expected, Group, by_name, dump, load, passed_by_file, skipped_by_reason
from tests.sdk.suite import Outcome

Named = Mapping[str, Outcome]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sdk.retake")
    parser.add_argument("--write", action="store_true", help="write expected.toml and docs/sdk-tests.md")
    parser.add_argument("--outcomes", type=Path, help="keep the outcomes in this file")
    parser.add_argument("--from", dest="source", type=Path, help="take the outcomes from this file")
    options = parser.parse_args()
    source.fetch()
    expected = load()
    outcomes = _read(options.source) if options.source else list(suite.run(expected.not_run).values())
    if options.outcomes:
        options.outcomes.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    named = by_name(outcomes)
    print(describe(expected, named))
    if options.write:
        made = remade(expected, named)
        FILE.write_text(dump(made))
        report.FILE.write_text(report.page(made))


def _read(file: Path) -> list[Outcome]:
    return [Outcome(**outcome) for outcome in json.loads(file.read_text())]


def failures(named: Named) -> dict[str, Outcome]:
    return {name: found for name, found in named.items() if found.outcome == "failed"}


def remade(expected: Expected, named: Named) -> Expected:
    """The list as these outcomes have it; failures that are in no group and fit none are left out."""
    failed = failures(named)
    unlisted = failed.keys() - expected.failing
    added = defaultdict(set)
    for name in unlisted:
        group = find_group(expected, failed[name].reason)
        if group is not None:
            added[group.title].add(name)
    groups = [
        replace(group, tests=frozenset((group.tests & failed.keys()) | added[group.title]))
        if group.run
        else group
        for group in expected.groups
    ]
    return Expected(tuple(groups), passed_by_file(named), skipped_by_reason(named))


def find_group(expected: Expected, reason: str) -> Group | None:
    return next((group for group in expected.groups if group.fits(reason)), None)


def describe(expected: Expected, named: Named) -> str:
    failed = failures(named)
    lines = [f"{sum(passed_by_file(named).values())} pass, {len(failed)} fail of {len(named)}"]
    lines += [f"listed, but does not fail: {name}" for name in sorted(expected.failing - failed.keys())]
    kinds = defaultdict(list)
    for name in sorted(failed.keys() - expected.failing):
        group = find_group(expected, failed[name].reason)
        kinds[(group.title if group else "no group", _kind(failed[name].reason))].append(name)
    for (title, kind), names in sorted(kinds.items(), key=lambda item: (item[0][0], -len(item[1]))):
        lines += [f"{len(names)} not listed ({title}): {kind}", *(f"    {name}" for name in names)]
    return "\n".join(lines)


def _kind(reason: str) -> str:
    """A failure's text without what differs from run to run."""
    text = re.sub(r"^[\w.]+:\d+: ", "", reason)
    text = re.sub(r"RequestId:\S+|Time:\S+|\b[0-9a-f]{8,}\b|\d{4}-\d\d-\d\dT\S+", "", text)
    return " ".join(text.split())[:180]


if __name__ == "__main__":
    main()
