"""The transfer plan: range arithmetic without a byte moved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmstamp.extents import Extent, Extents
from vmstamp.transfer.plan import FOOTER_LENGTH, MAX_PUT_PAGE, PAGE, make_plan, trim_zeros

MIB = 1024 * 1024
SIZE = 64 * MIB + FOOTER_LENGTH
pages = st.integers(0, SIZE // PAGE)
sets = st.lists(st.tuples(pages, pages), max_size=8).map(
    lambda found: Extents((min(a, b) * PAGE, max(a, b) * PAGE) for a, b in found)
)


def test_a_fresh_destination_gets_all_data_and_clears_nothing() -> None:
    plan = make_plan(Extents([(0, MIB), (SIZE - 512, SIZE)]), Extents(), SIZE)
    assert plan.writes == Extents([(0, MIB)])
    assert not plan.clears
    assert plan.footer == Extent(SIZE - 512, SIZE)


def test_a_dirty_destination_is_cleared_where_the_disk_has_a_hole() -> None:
    plan = make_plan(Extents([(0, MIB)]), Extents([(0, 512), (2 * MIB, 3 * MIB)]), SIZE)
    assert plan.writes == Extents([(512, MIB)])
    assert plan.clears == Extents([(2 * MIB, 3 * MIB)])


def test_pieces_are_four_mebibytes_at_most() -> None:
    plan = make_plan(Extents([(MIB, 10 * MIB)]), Extents(), SIZE)
    assert list(plan.pieces()) == [(MIB, 5 * MIB), (5 * MIB, 9 * MIB), (9 * MIB, 10 * MIB)]


def test_data_that_touches_the_footer_is_not_merged_with_it() -> None:
    plan = make_plan(Extents([(SIZE - MIB, SIZE)]), Extents(), SIZE)
    assert plan.writes == Extents([(SIZE - MIB, SIZE - 512)])


@pytest.mark.parametrize("size", [0, 511, 513])
def test_a_size_that_is_not_whole_pages_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="page"):
        make_plan(Extents(), Extents(), size)


@given(data=sets, present=sets)
def test_present_plus_writes_minus_clears_is_the_data(data: Extents, present: Extents) -> None:
    plan = make_plan(data, present, SIZE)
    footer = Extents([plan.footer])
    after = present.union(plan.writes).subtract(plan.clears).union(footer)
    assert after == data.union(footer)


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_trimming_keeps_every_byte_that_is_not_zero(filled: list[bool]) -> None:
    data = b"".join((b"\0" * 511 + b"x") if one else bytes(512) for one in filled)
    start, end = trim_zeros(data)
    assert not data[:start].strip(b"\0") and not data[end:].strip(b"\0")
    if any(filled):
        assert data[start : start + 512].strip(b"\0") and data[end - 512 : end].strip(b"\0")
    else:
        assert (start, end) == (0, 0)


def test_a_piece_of_four_mebibytes_of_zeros_is_nothing() -> None:
    assert trim_zeros(bytes(MAX_PUT_PAGE)) == (0, 0)
