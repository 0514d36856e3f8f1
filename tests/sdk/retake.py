"""Runs the SDK's tests and says where expected.toml is wrong: `python -m tests.sdk.retake`.

Prints tests that are listed and do not fail, and failures that are not listed, by the text of their error
and the group whose `errors` or `names` they fit. With --write the list is made anew: every failure goes to
the first group that it fits, else stays in the one where it is by hand; counts and docs/sdk-tests.md follow.
What has no group stays unlisted: give it to one by hand, or mend the server. `--outcomes FILE` keeps the
outcomes; `--from FILE` takes them from there instead of running. WORDS are pytest's and choose what runs: a
file, or `-k EXPRESSION` after `--`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from tests.sdk import report, source, suite
from tests.sdk.expected import FILE, Expected, Group, dump, load, passed_by_file, skipped_by_reason
from tests.sdk.suite import Outcome

Outcomes = Mapping[str, Outcome]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sdk.retake")
    parser.add_argument("--write", action="store_true", help="write expected.toml and docs/sdk-tests.md")
    parser.add_argument("--outcomes", type=Path, help="keep the outcomes in this file")
    parser.add_argument("--from", dest="source", type=Path, help="take the outcomes from this file")
    parser.add_argument("words", nargs="*", help="what runs, in pytest's words; by default everything")
    options = parser.parse_args()
    if options.write and options.words:
        parser.error("--write takes everything")
    source.fetch()
    expected = load()
    outcomes = _read(options.source) if options.source else suite.run(expected.not_run, options.words)
    if options.outcomes:
        options.outcomes.write_text(json.dumps([asdict(outcome) for outcome in outcomes.values()], indent=1))
    print(describe(expected, outcomes, options.words))
    if options.write:
        made = remade(expected, outcomes)
        FILE.write_text(dump(made))
        report.FILE.write_text(report.page(made))


def _read(file: Path) -> dict[str, Outcome]:
    return {table["id"]: Outcome(**table) for table in json.loads(file.read_text())}


def failures(outcomes: Outcomes) -> dict[str, Outcome]:
    return {name: found for name, found in outcomes.items() if found.outcome == "failed"}


def remade(expected: Expected, outcomes: Outcomes) -> Expected:
    """The list as these outcomes have it; failures that have no group are left out."""
    members = defaultdict(set)
    for id, found in failures(outcomes).items():
        group = find_group(expected, id, found.reason)
        if group is not None:
            members[group.title].add(id)
    groups = tuple(
        replace(group, tests=frozenset(members[group.title])) if group.run else group
        for group in expected.groups
    )
    return Expected(groups, passed_by_file(outcomes), skipped_by_reason(outcomes))


def find_group(expected: Expected, id: str, reason: str) -> Group | None:
    """The group that a failure fits, or the one without patterns that lists it."""
    by_pattern = (group for group in expected.groups if group.fits(id, reason))
    by_hand = (group for group in expected.groups if id in group.tests and not group.patterns)
    return next(by_pattern, next(by_hand, None))


def describe(expected: Expected, outcomes: Outcomes, words: Collection[str] = ()) -> str:
    """Where the list is wrong; `words` were given when only a part of the tests ran."""
    failed = failures(outcomes)
    lines = [f"{sum(passed_by_file(outcomes).values())} pass, {len(failed)} fail of {len(outcomes)}"]
    better = (expected.failing & outcomes.keys()) - failed.keys()
    lines += [f"listed, but {outcomes[name].outcome}: {name}" for name in sorted(better)]
    if not words:
        lines += [f"listed, but not there: {name}" for name in sorted(expected.failing - outcomes.keys())]
    kinds = defaultdict(list)
    for name in sorted(failed.keys() - expected.failing):
        group = find_group(expected, name, failed[name].reason)
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
