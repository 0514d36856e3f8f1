"""The algebra of ranges against the plain thing that it stands for: a set of byte numbers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmstamp.extents import Extent, Extents, merge

LIMIT = 64
offsets = st.integers(min_value=0, max_value=LIMIT)
ranges = st.lists(st.tuples(offsets, offsets), max_size=12)  # also empty and backward ones
units = st.integers(min_value=1, max_value=16)


def bytes_of(extents: Extents) -> set[int]:
    return {number for start, end in extents for number in range(start, end)}


def model(pairs: list[tuple[int, int]]) -> set[int]:
    return {number for start, end in pairs for number in range(start, end)}


def assert_normal(extents: Extents) -> None:
    """Ascending, not empty, and neither overlapping nor touching."""
    for extent in extents:
        assert extent.start < extent.end
    for one, other in itertools.pairwise(extents):
        assert one.end < other.start


@given(ranges)
def test_a_set_holds_the_bytes_of_its_ranges(pairs: list[tuple[int, int]]) -> None:
    extents = Extents(pairs)
    assert_normal(extents)
    assert bytes_of(extents) == model(pairs)
    assert extents.length == len(model(pairs))
    assert len(extents) == len(list(extents))


@given(ranges, ranges)
def test_union_intersection_and_difference_are_those_of_sets(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    a, b = Extents(one), Extents(other)
    for got, wanted in (
        (a.union(b), model(one) | model(other)),
        (a.intersect(b), model(one) & model(other)),
        (a.subtract(b), model(one) - model(other)),
    ):
        assert_normal(got)
        assert bytes_of(got) == wanted


@given(ranges, ranges)
def test_equal_sets_are_equal_however_they_were_written(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    a, b = Extents(one), Extents(other)
    assert (a == b) == (model(one) == model(other))
    assert Extents(reversed(one)) == a
    if a == b:
        assert hash(a) == hash(b)


@given(ranges, units)
def test_aligning_grows_to_whole_units(pairs: list[tuple[int, int]], unit: int) -> None:
    aligned = Extents(pairs).align(unit)
    assert_normal(aligned)
    touched = {number // unit for number in model(pairs)}
    assert bytes_of(aligned) == {unit * n + i for n in touched for i in range(unit)}


@given(ranges, units)
def test_splitting_keeps_the_bytes_in_the_fewest_pieces(pairs: list[tuple[int, int]], length: int) -> None:
    extents = Extents(pairs)
    pieces = list(extents.split(length))
    assert {number for start, end in pieces for number in range(start, end)} == bytes_of(extents)
    assert sum(piece.length for piece in pieces) == extents.length
    assert all(0 < piece.length <= length for piece in pieces)
    assert len(pieces) == sum(-(-span.length // length) for span in extents)


def test_touching_ranges_are_one() -> None:
    assert list(Extents([(4, 8), (0, 4), (9, 9)])) == [Extent(0, 8)]


def test_merging_reads_no_further_than_it_must() -> None:
    endless = ((n * 10, n * 10 + 1) for n in itertools.count())
    assert list(itertools.islice(merge(endless), 3)) == [Extent(0, 1), Extent(10, 11), Extent(20, 21)]


@pytest.mark.parametrize("other", [None, 3, [(0, 1)]])
def test_a_set_equals_nothing_of_another_kind(other: object) -> None:
    assert Extents([(0, 1)]) != other


def test_a_set_says_its_ranges() -> None:
    assert repr(Extents([(0, 1), (2, 3)])) == "Extents([(0, 1), (2, 3)])"
