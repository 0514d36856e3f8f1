"""expected.toml: how the SDK's own tests go here: what passes, what is skipped, what fails and why.

Form of the file:

    [passed]                  by file, how many tests pass
    [skipped]                 by the reason that the SDK's tests give, how many are skipped
    [[group]]                 tests that do not pass for one reason, in the words of a user
    title, reason             a heading and sentences of docs/sdk-tests.md
    run = false               they are not even run: they would take too long or too much room
    errors                    regular expressions; `tests.sdk.retake` puts a failure whose text has one here
    [group.tests]             by file, the names of its tests without their class
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.sdk.suite import Outcome

FILE: Final = Path(__file__).with_name("expected.toml")
_CLASS: Final = re.compile(r"^Test\w+::")
_HEAD: Final = "# How the Azure SDK's own tests go; written by `python -m tests.sdk.retake --write`.\n"


@dataclass(frozen=True)
class Group:
    """`tests` are FILE::NAME. `errors` are regular expressions."""

    title: str
    reason: str
    tests: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    run: bool = True

    def fits(self, reason: str) -> bool:
        return any(re.search(error, reason) for error in self.errors)


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


def by_name(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """Outcomes by FILE::NAME. Raises ValueError when two classes of a file have a test of one name."""
    named: dict[str, Outcome] = {}
    for outcome in outcomes:
        name = short_name(outcome.id)
        if name in named:
            raise ValueError(f"two tests are {name}: {named[name].id} and {outcome.id}")
        named[name] = outcome
    return named


def short_name(id: str) -> str:
    """FILE::NAME of pytest's FILE::CLASS::NAME; a name's parameters may have "::"."""
    file, _, rest = id.partition("::")
    return f"{file}::{_CLASS.sub('', rest)}"


def passed_by_file(named: Mapping[str, Outcome]) -> dict[str, int]:
    return dict(Counter(name.split("::")[0] for name, found in named.items() if found.outcome == "passed"))


def skipped_by_reason(named: Mapping[str, Outcome]) -> dict[str, int]:
    skips = (found.reason for found in named.values() if found.outcome == "skipped")
    return dict(Counter(reason.removeprefix("Skipped: ") for reason in skips))


def load(file: Path = FILE) -> Expected:
    document = tomllib.loads(file.read_text())
    groups = tuple(_group(table) for table in document.get("group", []))
    return Expected(groups, document.get("passed", {}), document.get("skipped", {}))


def _group(table: dict[str, Any]) -> Group:
    tests = {f"{file}::{name}" for file, names in table.get("tests", {}).items() for name in names}
    errors = tuple(table.get("errors", ()))
    return Group(table["title"], table["reason"], frozenset(tests), errors, table.get("run", True))


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
    if group.errors:
        lines.append(f"errors = [{', '.join(map(_quote, group.errors))}]")
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
