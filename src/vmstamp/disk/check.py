"""check and repair: is a disk file sound, and what of it can be put right?

What is looked at is the file's own structure, not what lies on the disk. Each format's invariants are in
its own module; this one is their door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmstamp.disk.file import ImageFile

State = Literal["sound", "repairable", "broken"]
MAX_PROBLEMS = 1000  # told of one file; a damaged table may have millions


@dataclass(frozen=True)
class Problem:
    """`what` was found at byte `offset` (None: the file as a whole), against `spec`.

    `repair` says what repair does about it; '': nothing can be done here.
    """

    what: str
    offset: int | None
    spec: str
    repair: str = ""


@dataclass(frozen=True)
class Report:
    """What was found in the file `path`; `complete` is False when there was more than MAX_PROBLEMS."""

    path: Path
    format: str
    problems: tuple[Problem, ...]
    complete: bool = True

    @property
    def state(self) -> State:
        if not self.problems:
            return "sound"
        return "repairable" if all(problem.repair for problem in self.problems) else "broken"


Checker = Callable[[ImageFile], Iterator[Problem]]
Repairer = Callable[[ImageFile, int], None]  # the damaged file; a descriptor of a whole copy of it, to mend
