"""Problem: one thing that is wrong with a disk file's structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vmstamp.errors import DiskError


@dataclass(frozen=True)
class Problem:
    """`what` was found at byte `offset` (None: the file as a whole), against `spec`.

    `repair` says what repair does about it; '': nothing can be done here.
    """

    what: str
    offset: int | None
    spec: str
    repair: str = ""


def broken(error: DiskError) -> Problem:
    """What cannot even be read, as a problem."""
    return Problem(error.found, error.offset, error.spec)


def overlaps(taken: Iterable[tuple[int, int, str]], spec: str) -> Iterator[Problem]:
    """A problem for each (start, end, what) in the file that begins inside of another."""
    end, holder = 0, ""
    for start, stop, what in sorted(taken):
        if start < end:
            yield Problem(f"{what} lies over {holder}, which ends at byte {end}", start, spec)
        if stop > end:
            end, holder = stop, what
