"""The page table: which ranges of a content hold data, as rows of SQLite.

Rows of one content are ascending, disjoint and not adjacent; every function keeps it so and runs in the
caller's transaction. The cost is that of the rows touched, not of the table.
"""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.db import Connection
from vmstamp.extents import Extent

_BEFORE = "SELECT start, end FROM page WHERE content = ? AND start <= ? ORDER BY start DESC LIMIT 1"
_INSIDE = "SELECT start, end FROM page WHERE content = ? AND start > ? AND start <= ? ORDER BY start"


def _touching(connection: Connection, content: str, start: int, end: int) -> list[Extent]:
    """The rows that overlap [start, end) or touch its ends."""
    before = connection.execute(_BEFORE, (content, start)).fetchall()
    inside = connection.execute(_INSIDE, (content, start, end)).fetchall()
    rows = [Extent(row["start"], row["end"]) for row in (*before, *inside)]
    return [row for row in rows if row.end >= start]


def _replace(connection: Connection, content: str, old: list[Extent], new: list[Extent]) -> None:
    if old == new:
        return
    connection.executemany(
        "DELETE FROM page WHERE content = ? AND start = ?", [(content, row.start) for row in old]
    )
    connection.executemany(
        "INSERT INTO page (content, start, end) VALUES (?, ?, ?)", [(content, *row) for row in new]
    )


def add(connection: Connection, content: str, start: int, end: int) -> None:
    """[start, end) holds data now; `start` < `end`."""
    old = _touching(connection, content, start, end)
    new = Extent(min(start, *(row.start for row in old), start), max(end, *(row.end for row in old), end))
    _replace(connection, content, old, [new])


def remove(connection: Connection, content: str, start: int, end: int) -> None:
    """[start, end) reads as zeros now; `start` < `end`."""
    old = [row for row in _touching(connection, content, start, end) if row.start < end and row.end > start]
    left = [Extent(row.start, start) for row in old if row.start < start]
    right = [Extent(end, row.end) for row in old if row.end > end]
    _replace(connection, content, old, [*left, *right])


def ranges(connection: Connection, content: str, start: int, end: int) -> Iterator[Extent]:
    """The data within [start, end), ascending; rows are fetched as they are asked for."""
    before = connection.execute(_BEFORE, (content, start)).fetchall()
    inside = connection.execute(_INSIDE, (content, start, end - 1))
    for rows in (before, inside):
        for row in rows:
            low, high = max(row["start"], start), min(row["end"], end)
            if low < high:
                yield Extent(low, high)


def copy(connection: Connection, source: str, target: str) -> None:
    """Give an empty content the table of another one."""
    connection.execute(
        "INSERT INTO page (content, start, end) SELECT ?, start, end FROM page WHERE content = ?",
        (target, source),
    )
