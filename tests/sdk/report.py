"""Writes docs/sdk-tests.md from expected.toml: `python -m tests.sdk.report`."""

from __future__ import annotations

from typing import Final

from tests.sdk import source
from tests.sdk.expected import Expected, Group, load

FILE: Final = source.ROOT / "docs" / "sdk-tests.md"
_HEAD: Final = """\
# The Azure SDK's own tests

`make test` runs the tests of Microsoft's Python SDK for Blob storage (azure-storage-blob {version}), as they
are published with it, against vmstamp's Blob service. **{passed} pass**, {failed} fail for the reasons
below, {not_run} are not run, {skipped} are skipped. Any other outcome, for the better as well, makes
`make test` fail; `tests/sdk/expected.toml` lists each test. This page is made from that list by
`python -m tests.sdk.report`.

The tests need tools that Microsoft does not publish; `tests/sdk/shim` has what they need for a live run.
Requests go over HTTPS to `ACCOUNT.blob.core.windows.net`, which the process that runs the tests finds at
vmstamp's port.
"""


def page(expected: Expected) -> str:
    head = _HEAD.format(
        version=source.version(),
        passed=sum(expected.passed.values()),
        failed=len(expected.failing),
        not_run=len(expected.not_run),
        skipped=sum(expected.skipped.values()),
    )
    parts = [head, _files(expected)]
    parts += [_section("Tests that do not pass", [group for group in expected.groups if group.run])]
    parts += [_section("Tests that are not run", [group for group in expected.groups if not group.run])]
    parts += [_skips(expected)]
    return "\n".join(part for part in parts if part)


def _section(title: str, groups: list[Group]) -> str:
    """A table of the groups that have tests."""
    rows = [f"| {group.title} | {len(group.tests)} | {group.reason} |\n" for group in groups if group.tests]
    return f"## {title}\n\n| What | Tests | Why |\n| --- | ---: | --- |\n{''.join(rows)}" if rows else ""


def _files(expected: Expected) -> str:
    failing = [test.split("::")[0] for test in expected.failing]
    files = sorted({*expected.passed, *failing})
    rows = [f"| {file} | {expected.passed.get(file, 0)} | {failing.count(file)} |\n" for file in files]
    return f"## By file\n\n| File | Pass | Fail |\n| --- | ---: | ---: |\n{''.join(rows)}"


def _skips(expected: Expected) -> str:
    rows = [f"| {reason} | {count} |\n" for reason, count in sorted(expected.skipped.items())]
    return f"## Skipped tests\n\n| Why | Tests |\n| --- | ---: |\n{''.join(rows)}" if rows else ""


if __name__ == "__main__":
    FILE.write_text(page(load()))
