"""A measured figure and how it is shown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured figure: `value` in `unit`, at most `limit` where a limit is set; `how` it was measured."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    how: str = ""

    @property
    def holds(self) -> bool:
        return self.limit is None or self.value <= self.limit


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """The median wall time of `runs` calls, after one that does not count."""
    work()
    return statistics.median(timed(work) for _ in range(runs))


def timed(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
