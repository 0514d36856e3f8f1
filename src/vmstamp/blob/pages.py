"""The page table: which ranges of a content hold data, as rows of SQLite.

Rows of one content are ascending and disjoint. Each carries the generation in which it was written last; rows
that touch have different generations. Every function keeps it so and runs in the caller's transaction. The
cost is that of the rows touched, not of the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vmstamp.db import Connection
from vmstamp.extents import Extent, merge

_BEFORE = (
    "SELECT start, end, generation FROM page WHERE content = ? AND start <= ? ORDER BY start DESC LIMIT 1"
)
_INSIDE = (
    "SELECT start, end, generation FROM page WHERE content = ? AND start > ? AND start <= ? ORDER BY start"
)


class _Row(NamedTuple):
    start: int
    end: int
    generation: int


def _touching(connection: Connection, content: str, start: int, end: int) -> list[_Row]:
    """The rows that overlap [start, end) or touch its ends."""
    before = connection.execute(_BEFORE, (content, start - 1)).fetchall()
    inside = connection.execute(_INSIDE, (content, start - 1, end)).fetchall()
    return [_Row(*row) for row in (*before, *inside) if row[1] >= start]


def _replace(connection: Connection, content: str, old: list[_Row], new: list[_Row]) -> None:
    gone = [row for row in old if row not in new]
    if gone:
        connection.executemany(
            "DELETE FROM page WHERE content = ? AND start = ?", [(content, row.start) for row in gone]
        )
    if added := [row for row in new if row not in old]:
        connection.executemany(
            "INSERT INTO page (content, start, end, generation) VALUES (?, ?, ?, ?)",
            [(content, *row) for row in added],
        )


def _outside(rows: list[_Row], start: int, end: int) -> list[_Row]:
    """What is left of rows when [start, end) is taken out."""
    left = [_Row(row.start, min(row.end, start), row.generation) for row in rows if row.start < start]
    right = [_Row(max(row.start, end), row.end, row.generation) for row in rows if row.end > end]
    return [*left, *right]


def add(connection: Connection, content: str, start: int, end: int, generation: int = 0) -> None:
    """[start, end) holds data of this generation now; `start` < `end`."""
    old = _touching(connection, content, start, end)
    same = [row for row in old if row.generation == generation]
    low = min(start, *(row.start for row in same), start)
    high = max(end, *(row.end for row in same), end)
    others = _outside([row for row in old if row.generation != generation], start, end)
    _replace(connection, content, old, [*others, _Row(low, high, generation)])


def remove(connection: Connection, content: str, start: int, end: int) -> None:
    """[start, end) reads as zeros now; `start` < `end`."""
    old = [row for row in _touching(connection, content, start, end) if row.start < end and row.end > start]
    _replace(connection, content, old, _outside(old, start, end))


def ranges(
    connection: Connection, content: str, start: int, end: int, since: int | None = None
) -> Iterator[Extent]:
    """The data within [start, end), ascending and merged; rows are fetched as they are asked for.

    With `since` only what was written in a later generation than that.
    """
    found = _rows(connection, content, start, end)
    return merge(
        (max(row[0], start), min(row[1], end))
        for row in found
        if row[1] > start and (since is None or row[2] > since)
    )


def _rows(connection: Connection, content: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    before = connection.execute(_BEFORE, (content, start)).fetchall()
    yield from before
    yield from connection.execute(_INSIDE, (content, start, end - 1))


def copy(connection: Connection, source: str, target: str) -> None:
    """Give an empty content the table of another one."""
    connection.execute(
        "INSERT INTO page (content, start, end, generation) "
        "SELECT ?, start, end, generation FROM page WHERE content = ?",
        (target, source),
    )
