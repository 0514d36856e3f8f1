"""What a copy decides, as pure arithmetic."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmstamp.extents import Extent, Extents
from vmstamp.transfer.copy_plan import (
    COPY_OF,
    COPY_SNAPSHOT,
    COPY_TIME,
    CopyPlan,
    Marks,
    changed_pages,
    copy_mark,
    known_base,
    read_marks,
    source_mark,
    time_mark,
    whole_pages,
    without_marks,
)
from vmstamp.transfer.destination import MARK

PAGES = 64
SIZE = PAGES * 512
page_sets = st.sets(st.integers(0, PAGES - 1)).map(
    lambda pages: Extents((page * 512, page * 512 + 512) for page in pages)
)


@given(page_sets, page_sets)
def test_what_was_there_and_what_is_done_give_what_the_source_holds(data: Extents, present: Extents) -> None:
    plan = whole_pages(data, present, SIZE)
    last = Extents([plan.footer])
    assert not plan.writes.intersect(last), "the footer goes by itself"
    held = present.subtract(plan.clears).union(plan.writes).union(data.intersect(last))
    assert held == data
    assert not plan.writes.intersect(present), "nothing is sent twice"


@given(page_sets, page_sets)
def test_changes_are_written_and_cleared_but_for_the_footer(written: Extents, gone: Extents) -> None:
    cleared = gone.subtract(written)
    plan = changed_pages(written, cleared, SIZE)
    last = Extents([plan.footer])
    assert (plan.writes, plan.clears) == (written.subtract(last), cleared.subtract(last))


NAME, OLD, NEW = "acct/vhds/web ü.vhd", "2026-01-02T03:04:05.0000000Z", "2026-01-02T03:04:06.0000000Z"
THEN = datetime(2026, 1, 2, 4, tzinfo=UTC)
AT = time_mark(THEN)
OURS = source_mark(NAME)


@pytest.mark.parametrize(
    ("marks", "snapshot", "base"),
    [
        (Marks(OURS, OLD, AT), NEW, OLD),
        (Marks(OURS, OLD, AT), OLD, OLD),
        (Marks(OURS, NEW, AT), OLD, ""),  # newer than what is asked for
        (Marks(OURS, OLD, AT), "", ""),  # the blob itself: nobody knows what changed
        (Marks(OURS, OLD, "2026-01-02T03:59:59Z"), NEW, ""),  # written to since
        (Marks(source_mark("acct/vhds/other"), OLD, AT), NEW, ""),
        (Marks(OURS, OLD, "", "mark"), NEW, OLD),  # being changed by this same copy
        (Marks(OURS, OLD, AT, "another"), NEW, ""),
        (Marks(), NEW, ""),
    ],
)
def test_a_base_is_known_while_nobody_wrote_to_it(marks: Marks, snapshot: str, base: str) -> None:
    assert known_base(marks, NAME, snapshot, "mark", THEN) == base


def test_marks_are_read_in_any_case_and_do_not_travel() -> None:
    metadata = {COPY_OF.upper(): OURS, COPY_SNAPSHOT: OLD, COPY_TIME.title(): AT, MARK: "m", "Own": "1"}
    assert read_marks(metadata) == Marks(OURS, OLD, AT, "m")
    assert without_marks(metadata) == {"Own": "1"}
    assert OURS.isascii()


def test_another_state_of_the_source_is_another_copy() -> None:
    marks = {copy_mark(*one) for one in [("n", "", "e", 1), ("n", "s", "e", 1), ("n", "", "f", 1)]}
    assert len(marks) == 3


def test_the_steps_are_counted() -> None:
    mib = 2**20
    size = 16 * mib
    data = Extents([(0, 6 * mib), (size - 512, size)])
    pages = whole_pages(data, Extents([(8 * mib, 9 * mib)]), size)
    plan = CopyPlan("s", "d", "put-page-from-url", "why", size, data, pages=pages, creates=False)
    assert [(step.requests, step.bytes) for step in plan.steps()] == [
        (1, 0),
        (2, 6 * mib),
        (1, 512),
        (1, 0),
        (1, 0),
    ]
    assert (plan.total, plan.has_footer) == (6 * mib + 512, True)
    assert next(plan.pieces()) == Extent(0, 4 * mib)
    assert CopyPlan("s", "d", "nothing", "why", size, data).steps() == []
