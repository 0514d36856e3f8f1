"""How far a transfer is, as its callers are told from worker threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Moved:
    """All counts are bytes. `logical` is the whole disk's size, `data` what its extents hold.

    `done` of the `total` that is to be moved is behind; of it `sent` went over the wire (or from service to
    service), the rest was zeros. `kept` is what was there from before.
    """

    logical: int
    data: int
    total: int
    done: int = 0
    sent: int = 0
    kept: int = 0

    @property
    def skipped(self) -> int:
        """Holes and zeros that needed no moving so far."""
        return self.logical - self.total - self.kept + self.done - self.sent


Progress = Callable[[Moved], None]
