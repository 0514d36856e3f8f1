"""Every rule of Azure's control plane that the stamp keeps, one by one; docs/parity.md lists them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.arm.parity.row import EVIDENCE, Row
from tests.client.arm.parity.subjects import subjects
from tests.parity_page import FILE, page

_ROWS = [pytest.param(row, id=f"{title}: {row.rule}") for title, rows in subjects() for row in rows]


@pytest.mark.parametrize("row", _ROWS)
def test_rule_holds(arm: Any, row: Row) -> None:
    row.check(row.send(arm))


def test_rules_are_told_apart() -> None:
    for title, rows in subjects():
        names = [row.rule for row in rows]
        assert len(names) == len(set(names)), title
        assert all(row.evidence and set(row.evidence) <= set(EVIDENCE) for row in rows), title


def test_page_lists_the_rules_that_are_tested() -> None:
    assert FILE.read_text() == page(), "python -m tests.parity_page writes it"
