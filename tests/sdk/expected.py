"""expected.toml: how the SDK's own tests go here: what passes, what is skipped, what fails and why.

Form of the file:

    [passed]                  by file, how many tests pass
    [skipped]                 by the reason that the SDK's tests give, how many are skipped
    [[group]]                 tests that do not pass for one reason, in the words of a user
    title, reason             a heading and sentences of docs/sdk-tests.md
    run = false               they are not even run: they would take too long or too much room
    errors                    regular expressions; `tests.sdk.retake` puts a failure whose text has one here
    names                     the same for a test's id
    [group.tests]             by file, its tests as pytest names them
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.sdk.suite import Outcome

FILE: Final = Path(__file__).with_name("expected.toml")
_HEAD: Final = "# How the Azure SDK's own tests go; written by `python -m tests.sdk.retake --write`.\n"


@dataclass(frozen=True)
class Group:
    """`tests` are ids, FILE::CLASS::NAME. `errors` and `names` are regular expressions."""

    title: str
    reason: str
    tests: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    run: bool = True

    @property
    def patterns(self) -> tuple[str, ...]:
        return self.errors + self.names

    def fits(self, id: str, reason: str) -> bool:
        by_error = any(re.search(error, reason) for error in self.errors)
        return by_error or any(re.search(pattern, id) for pattern in self.names)


@dataclass(frozen=True)
class Expected:
    groups: tuple[Group, ...]
    passed: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def failing(self) -> frozenset[str]:
        return frozenset().union(*(group.tests for group in self.groups if group.run))

    @property
    def not_run(self) -> frozenset[str]:
        return frozenset().union(*(group.tests for group in self.groups if not group.run))


def passed_by_file(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    return dict(Counter(id.split("::")[0] for id, found in outcomes.items() if found.outcome == "passed"))


def skipped_by_reason(outcomes: Mapping[str, Outcome]) -> dict[str, int]:
    skips = (found.reason for found in outcomes.values() if found.outcome == "skipped")
    return dict(Counter(reason.removeprefix("Skipped: ") for reason in skips))


def load(file: Path = FILE) -> Expected:
    document = tomllib.loads(file.read_text())
    groups = tuple(_group(table) for table in document.get("group", []))
    return Expected(groups, document.get("passed", {}), document.get("skipped", {}))


def _group(table: dict[str, Any]) -> Group:
    tests = {f"{file}::{name}" for file, names in table.get("tests", {}).items() for name in names}
    return Group(
        table["title"],
        table["reason"],
        frozenset(tests),
        tuple(table.get("errors", ())),
        tuple(table.get("names", ())),
        table.get("run", True),
    )


def dump(expected: Expected) -> str:
    """The text of expected.toml. TOML's basic strings are JSON's here: all of it is printable."""
    parts = [_HEAD]
    for title, counts in (("passed", expected.passed), ("skipped", expected.skipped)):
        lines = [f"{json.dumps(key, ensure_ascii=False)} = {counts[key]}\n" for key in sorted(counts)]
        parts.append(f"[{title}]\n{''.join(lines)}")
    parts.extend(_dump_group(group) for group in expected.groups)
    return "\n".join(parts)


def _dump_group(group: Group) -> str:
    lines = ["[[group]]", f"title = {_quote(group.title)}", f"reason = {_quote(group.reason)}"]
    if not group.run:
        lines.append("run = false")
    for key, patterns in (("errors", group.errors), ("names", group.names)):
        if patterns:
            lines.append(f"{key} = [{', '.join(map(_quote, patterns))}]")
    lines.append("[group.tests]")
    files = defaultdict(list)
    for test in sorted(group.tests):
        file, _, name = test.partition("::")
        files[file].append(name)
    for file, names in files.items():
        lines.append(f'"{file}" = [')
        lines.extend(f"    {_quote(name)}," for name in names)
        lines.append("]")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
