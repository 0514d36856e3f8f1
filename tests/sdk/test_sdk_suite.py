"""The Azure SDK's own tests against our Blob service go as expected.toml lists, no worse and no better."""

from __future__ import annotations

import pytest

from tests.sdk import report, source, suite
from tests.sdk.expected import (
    FILE,
    Expected,
    Group,
    by_name,
    dump,
    load,
    passed_by_file,
    short_name,
    skipped_by_reason,
)
from tests.sdk.retake import describe, failures, remade
from tests.sdk.suite import Outcome


@pytest.mark.timeout(suite.LIMIT + 60)
def test_the_sdks_own_tests_go_as_the_list_says() -> None:
    source.fetch()
    expected = load()
    named = by_name(suite.run(expected.not_run).values())
    assert failures(named).keys() == expected.failing, describe(expected, named)
    assert passed_by_file(named) == expected.passed
    assert skipped_by_reason(named) == expected.skipped


def test_the_page_is_made_from_the_list() -> None:
    assert report.FILE.read_text() == report.page(load()), "run python -m tests.sdk.report"


def test_the_list_is_as_its_tool_writes_it() -> None:
    assert FILE.read_text() == dump(load())


def test_no_test_is_in_two_groups() -> None:
    groups = load().groups
    assert sum(len(group.tests) for group in groups) == len(frozenset().union(*(g.tests for g in groups)))


def _outcome(name: str, outcome: str, reason: str = "") -> tuple[str, Outcome]:
    return name, Outcome(name, outcome, reason)


def test_a_list_is_made_anew_from_outcomes() -> None:
    old = Expected((Group("Keys", "No keys.", frozenset({"a.py::mended", "a.py::broken"}), ("own key",)),))
    named = dict(
        [
            _outcome("a.py::mended", "passed"),
            _outcome("a.py::broken", "failed"),
            _outcome("b.py::keyed", "failed", "x.py:1: an own key is refused"),
            _outcome("b.py::odd", "failed", "x.py:2: something else"),
            _outcome("b.py::left", "skipped", "Skipped: too big"),
        ]
    )
    made = remade(old, named)
    assert made.failing == {"a.py::broken", "b.py::keyed"}
    assert (made.passed, made.skipped) == ({"a.py": 1}, {"too big": 1})


def test_the_difference_names_what_is_better_and_what_is_worse() -> None:
    old = Expected((Group("Keys", "No keys.", frozenset({"a.py::mended"}), ("own key",)),))
    text = describe(
        old, dict([_outcome("a.py::mended", "passed"), _outcome("b.py::odd", "failed", "x.py:2: odd")])
    )
    assert "listed, but does not fail: a.py::mended" in text
    assert "1 not listed (no group): odd\n    b.py::odd" in text


def test_a_tests_class_is_not_in_its_short_name() -> None:
    assert short_name("a.py::TestBlob::test_x[a::b]") == "a.py::test_x[a::b]"
    assert short_name("a.py::test_y") == "a.py::test_y"
