"""The page table: which ranges of a content hold data, and which were cleared, as rows of SQLite.

Rows of one content are ascending and disjoint. Each carries the generation in which it was written last; rows
that touch have different generations. Every function keeps it so and runs in the caller's transaction. The
cost is that of the rows touched, not of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, takewhile
from typing import Final, Literal, NamedTuple

from vmstamp.db import Connection
from vmstamp.extents import Extent

Table = Literal["page", "cleared_page"]


class Row(NamedTuple):
    """A range with the generation in which it was written last."""

    start: int
    end: int
    generation: int


def add(connection: Connection, content: str, start: int, end: int, generation: int = 0) -> None:
    """[start, end) holds data of this generation now; `start` < `end`."""
    _add(connection, "page", content, start, end, generation)
    if generation:
        _remove(connection, "cleared_page", content, start, end)


def find_beside(connection: Connection, content: str, start: int, end: int) -> list[Row] | None:
    """The rows that touch the ends of [start, end); None where some of it holds data."""
    touching = _touching(connection, "page", content, start, end)
    return None if any(row.start < end and row.end > start for row in touching) else touching


def add_new(
    connection: Connection, content: str, beside: list[Row], start: int, end: int, generation: int = 0
) -> None:
    """As `add`, where `find_beside` found these rows and no data."""
    _put(connection, "page", content, beside, Row(start, end, generation))
    if generation:
        _remove(connection, "cleared_page", content, start, end)


def remove(connection: Connection, content: str, start: int, end: int, generation: int = 0) -> None:
    """[start, end) reads as zeros now; `start` < `end`. What held data was cleared in this generation."""
    gone = list(_ranges(connection, "page", content, start, end)) if generation else []
    _remove(connection, "page", content, start, end)
    for low, high in gone:
        _add(connection, "cleared_page", content, low, high, generation)


def ranges(
    connection: Connection, content: str, start: int, end: int, since: int | None = None
) -> Iterator[Extent]:
    """The data within [start, end), ascending and merged; rows are fetched as they are asked for.

    With `since` only what was written in a later generation than that.
    """
    return _ranges(connection, "page", content, start, end, since)


def spans(connection: Connection, content: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """As `ranges`, in plain tuples: there may be a hundred thousand."""
    return _spans(connection, "page", content, start, end)


def cleared(connection: Connection, content: str, start: int, end: int, since: int) -> Iterator[Extent]:
    """What was cleared within [start, end) in a later generation than `since`, ascending and merged."""
    return _ranges(connection, "cleared_page", content, start, end, since)


def copy(connection: Connection, source: str, target: str) -> None:
    """Give an empty content the table of another one."""
    for table in ("page", "cleared_page"):
        connection.execute(
            f"INSERT INTO {table} (content, start, end, generation) "
            f"SELECT ?, start, end, generation FROM {table} WHERE content = ?",
            (target, source),
        )


def _add(connection: Connection, table: Table, content: str, start: int, end: int, generation: int) -> None:
    old = _touching(connection, table, content, start, end)
    _put(connection, table, content, old, Row(start, end, generation))


def _put(connection: Connection, table: Table, content: str, old: list[Row], new: Row) -> None:
    """A row over and between those that overlap or touch it; it takes in those of its generation."""
    same = [row for row in old if row.generation == new.generation]
    low = min(new.start, *(row.start for row in same), new.start)
    high = max(new.end, *(row.end for row in same), new.end)
    others = _outside([row for row in old if row.generation != new.generation], new.start, new.end)
    _replace(connection, table, content, old, [*others, Row(low, high, new.generation)])


def _remove(connection: Connection, table: Table, content: str, start: int, end: int) -> None:
    touching = _touching(connection, table, content, start, end)
    old = [row for row in touching if row.start < end and row.end > start]
    _replace(connection, table, content, old, _outside(old, start, end))


def _outside(rows: list[Row], start: int, end: int) -> list[Row]:
    """What is left of rows when [start, end) is taken out."""
    left = [Row(row.start, min(row.end, start), row.generation) for row in rows if row.start < start]
    right = [Row(max(row.start, end), row.end, row.generation) for row in rows if row.end > end]
    return [*left, *right]


def _replace(connection: Connection, table: Table, content: str, old: list[Row], new: list[Row]) -> None:
    gone = [(content, row.start) for row in old if row not in new]
    added = [(content, *row) for row in new if row not in old]
    if gone:
        connection.executemany(f"DELETE FROM {table} WHERE content = ? AND start = ?", gone)
    if added:
        connection.executemany(
            f"INSERT INTO {table} (content, start, end, generation) VALUES (?, ?, ?, ?)", added
        )


def _touching(connection: Connection, table: Table, content: str, start: int, end: int) -> list[Row]:
    """The rows that overlap [start, end) or touch its ends."""
    query = _SELECT.format(table) + " AND start <= ? ORDER BY start DESC"
    found = takewhile(lambda row: row[1] >= start, _rows(connection, query, (content, end)))
    return [Row(*row) for row in found][::-1]


def _ranges(
    connection: Connection, table: Table, content: str, start: int, end: int, since: int | None = None
) -> Iterator[Extent]:
    return (Extent(*span) for span in _spans(connection, table, content, start, end, since))


def _spans(
    connection: Connection, table: Table, content: str, start: int, end: int, since: int | None = None
) -> Iterator[tuple[int, int]]:
    found: Iterable[tuple[int, int, int]] = chain(
        _before(connection, table, content, start), _from(connection, table, content, start, end)
    )
    if since is not None:
        found = (row for row in found if row[2] > since)
    low = high = start  # what is joined so far
    for first, last, _ in found:
        if last <= start:
            continue
        if first > high:
            if low < high:
                yield low, high
            low = first
        high = last
    if low < high:
        yield low, min(high, end)


_SELECT: Final = "SELECT start, end, generation FROM {} WHERE content = ?"


def _before(connection: Connection, table: Table, content: str, start: int) -> list[tuple[int, int, int]]:
    """The last row that begins before `start`."""
    query = _SELECT.format(table) + " AND start < ? ORDER BY start DESC LIMIT 1"
    return list(_rows(connection, query, (content, start)))


def _from(
    connection: Connection, table: Table, content: str, start: int, end: int
) -> Iterable[tuple[int, int, int]]:
    """The rows that begin in [start, end), as they are asked for."""
    query = _SELECT.format(table) + " AND start >= ? AND start < ? ORDER BY start"
    return _rows(connection, query, (content, start, end))


def _rows(connection: Connection, query: str, values: tuple[object, ...]) -> Iterable[tuple[int, int, int]]:
    """Rows as they are asked for, in plain tuples: there may be a hundred thousand."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(query, values)
