"""Turns: how many virtual machines are provisioned at once, so that none is starved until it times out."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOOK: Final = 0.5  # seconds between looks whether the one that waits is still wanted


def places() -> int:
    """As many as this computer has processors, two at least."""
    return max(2, os.cpu_count() or 1)


class Turns:
    """First come, first served. Safe to share between threads; nothing of it outlives the process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._condition = threading.Condition()
        self._queue: list[str] = []  # those that have a turn come first

    @property
    def full(self) -> bool:
        """Whether one more would have to wait now."""
        with self._condition:
            return len(self._queue) >= self.limit

    @contextmanager
    def turn(self, name: str, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a turn and keep it for the block. False: `cancelled()` turned true before it came."""
        with self._condition:
            self._queue.append(name)
        try:
            yield self._wait(name, cancelled)
        finally:
            with self._condition:
                self._queue.remove(name)
                self._condition.notify_all()

    def _wait(self, name: str, cancelled: Callable[[], bool]) -> bool:
        with self._condition:
            while self._queue.index(name) >= self.limit:
                if cancelled():
                    return False
                self._condition.wait(LOOK)
        return not cancelled()

    def ahead(self, name: str) -> int:
        """How many wait or are provisioned before this one, which waits itself; 0 when it does not wait."""
        with self._condition:
            place = self._queue.index(name) if name in self._queue else 0
        return place if place >= self.limit else 0
