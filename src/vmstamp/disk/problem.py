"""Problem: one thing that is wrong with a disk file's structure."""

from __future__ import annotations

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
