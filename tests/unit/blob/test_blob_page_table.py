"""The page table against a list of pages: what holds data, and since which generation."""

from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp.blob import pages, tables
from vmstamp.db import Connection, Database

COUNT = 40
CONTENT = "c"
span = st.tuples(st.integers(0, COUNT - 1), st.integers(1, 12)).map(lambda s: (s[0], min(COUNT, s[0] + s[1])))
step = st.tuples(st.sampled_from(["add", "add", "remove", "seal"]), span)


@settings(deadline=None)
@given(st.lists(step, max_size=40))
def test_the_table_holds_what_a_list_of_pages_holds(steps: list[tuple[str, tuple[int, int]]]) -> None:
    database = Database(Path(":memory:"))
    with database.write() as connection:
        tables.insert_content(connection, CONTENT, COUNT)
        model: list[int | None] = [None] * COUNT
        cleared: list[int | None] = [None] * COUNT
        generation = 0
        for what, (start, end) in steps:
            if what == "seal":
                generation += 1
            elif what == "add":
                pages.add(connection, CONTENT, start, end, generation)
                model[start:end] = [generation] * (end - start)
                cleared[start:end] = [None] * (end - start)
            else:
                pages.remove(connection, CONTENT, start, end, generation)
                for page in range(start, end):
                    cleared[page] = generation if model[page] is not None else cleared[page]
                model[start:end] = [None] * (end - start)
            assert table(connection) == model
            gone = pages.cleared(connection, CONTENT, 0, COUNT, 0)
            assert [page for extent in gone for page in range(*extent)] == [
                page for page in range(COUNT) if cleared[page]
            ]
            for since in (None, generation - 1):
                assert found(connection, start, end, since) == [
                    page
                    for page in range(start, end)
                    if (written := model[page]) is not None and (since is None or written > since)
                ]
    database.close()


def table(connection: Connection) -> list[int | None]:
    pages_of: list[int | None] = [None] * COUNT
    rows = connection.execute("SELECT start, end, generation FROM page ORDER BY start").fetchall()
    for start, end, generation in rows:
        assert start < end and pages_of[start:end] == [None] * (end - start), "rows overlap"
        pages_of[start:end] = [generation] * (end - start)
    for one, two in pairwise(rows):
        assert one["end"] < two["start"] or one["generation"] != two["generation"], "rows touch"
    return pages_of


def found(connection: Connection, start: int, end: int, since: int | None) -> list[int]:
    ranges = list(pages.ranges(connection, CONTENT, start, end, since))
    assert all(one.end < two.start for one, two in pairwise(ranges)), "not merged"
    return [page for extent in ranges for page in range(*extent)]
