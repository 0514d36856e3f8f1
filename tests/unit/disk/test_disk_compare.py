"""Two disks, compared."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp.disk.compare import Difference, compare
from vmstamp.disk.density import density
from vmstamp.disk.memory import MemoryDisk


@settings(max_examples=100, deadline=None)
@given(
    left=st.dictionaries(st.integers(0, 900), st.binary(min_size=1, max_size=99), max_size=4),
    right=st.dictionaries(st.integers(0, 900), st.binary(min_size=1, max_size=99), max_size=4),
)
def test_the_first_difference_is_told(left: dict[int, bytes], right: dict[int, bytes]) -> None:
    one, other = MemoryDisk(1000, left), MemoryDisk(1000, right)
    both = enumerate(zip(one.read(0, 1000), other.read(0, 1000), strict=True))
    expected = next((Difference(at, a, b) for at, (a, b) in both if a != b), None)
    assert compare(one, other) == expected


def test_holes_are_not_read() -> None:
    told: list[int] = []
    far = {0: b"a", 60 * 1024**4: b"b"}
    assert compare(MemoryDisk(64 * 1024**4, far), MemoryDisk(62 * 1024**4, far), told.append) is None
    assert sum(told) == 2


def test_data_behind_the_end_of_the_shorter_disk_is_a_difference() -> None:
    assert compare(MemoryDisk(600, {}), MemoryDisk(700, {650: b"x"})) == Difference(650, 0, ord("x"))


@given(
    size=st.integers(1, 10_000),
    count=st.integers(1, 100),
    edges=st.sets(st.integers(0, 10_000), max_size=20),
)
def test_a_density_loses_nothing(size: int, count: int, edges: set[int]) -> None:
    cuts = sorted(edge for edge in edges if edge <= size)
    extents = list(zip(cuts[::2], cuts[1::2], strict=False))
    spread = density(extents, size, count)
    assert len(spread.cells) <= count
    assert sum(spread.cells) == spread.total == sum(end - start for start, end in extents)
    assert all(filled <= spread.cell_size for filled in spread.cells)


@given(
    edges=st.sets(st.integers(0, 300), max_size=20),
    spans=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 99)), max_size=6),
)
def test_a_density_tells_how_much_of_each_span_is_data(edges: set[int], spans: list[tuple[int, int]]) -> None:
    cuts = sorted(edges)
    extents = list(zip(cuts[::2], cuts[1::2], strict=False))
    data = {byte for start, end in extents for byte in range(start, end)}
    asked = [(start, start + length) for start, length in spans]
    expected = tuple(len(data.intersection(range(start, end))) for start, end in asked)
    assert density(extents, 300, 10, asked).spans == expected
