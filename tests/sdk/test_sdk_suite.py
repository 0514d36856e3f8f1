"""The Azure SDK's own tests against our Blob service go as expected.toml lists, no worse and no better."""

from __future__ import annotations

import pytest

from tests.sdk import report, source, suite
from tests.sdk.expected import (
    FILE,
    Expected,
    Group,
    dump,
    load,
    passed_by_file,
    skipped_by_reason,
)
from tests.sdk.retake import describe, failures, remade
from tests.sdk.suite import Outcome


@pytest.mark.timeout(suite.LIMIT + 60)
def test_the_sdks_own_tests_go_as_the_list_says() -> None:
    source.fetch()
    expected = load()
    outcomes = suite.run(expected.not_run)
    assert failures(outcomes).keys() == expected.failing, describe(expected, outcomes)
    assert passed_by_file(outcomes) == expected.passed
    assert skipped_by_reason(outcomes) == expected.skipped


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
    keys = Group("Keys", "No keys.", frozenset({"a.py::mended", "a.py::other"}), errors=("own key",))
    by_hand = Group("Odd", "Odd.", frozenset({"a.py::odd"}))
    outcomes = dict(
        [
            _outcome("a.py::mended", "passed"),
            _outcome("a.py::other", "failed", "x.py:1: now it is something else"),
            _outcome("a.py::odd", "failed", "x.py:1: odd"),
            _outcome("b.py::keyed", "failed", "x.py:1: an own key is refused"),
            _outcome("b.py::new", "failed", "x.py:2: odd"),
            _outcome("b.py::left", "skipped", "Skipped: too big"),
        ]
    )
    made = remade(Expected((keys, by_hand)), outcomes)
    assert [group.tests for group in made.groups] == [{"b.py::keyed"}, {"a.py::odd"}]
    assert (made.passed, made.skipped) == ({"a.py": 1}, {"too big": 1})


def test_the_difference_names_what_is_better_and_what_is_worse() -> None:
    old = Expected((Group("Keys", "No keys.", frozenset({"a.py::mended"}), ("own key",)),))
    text = describe(
        old, dict([_outcome("a.py::mended", "passed"), _outcome("b.py::odd", "failed", "x.py:2: odd")])
    )
    assert "listed, but passed: a.py::mended" in text
    assert "1 not listed (no group): odd\n    b.py::odd" in text
