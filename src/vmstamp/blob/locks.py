"""Shared and exclusive locks by key, for threads of one process.

Many threads may hold a key shared, or one of them exclusively. Whoever waits for a key exclusively
keeps new shared holders out, so a stream of writers cannot starve it. Not reentrant: a thread that
holds a key must not ask for it again.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class _State:
    shared: int = 0
    exclusive: bool = False
    waiting: int = 0

    @property
    def idle(self) -> bool:
        return not (self.shared or self.exclusive or self.waiting)


class KeyLocks:
    """The locks of all keys; a key takes memory only while it is held or awaited."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._states: dict[Hashable, _State] = {}

    @contextmanager
    def shared(self, key: Hashable) -> Iterator[None]:
        with self._condition:
            while (state := self._state(key)).exclusive or state.waiting:
                self._condition.wait()
            state.shared += 1
        try:
            yield
        finally:
            with self._condition:
                state.shared -= 1
                self._drop(key, state)

    @contextmanager
    def exclusive(self, key: Hashable) -> Iterator[None]:
        with self._condition:
            state = self._state(key)
            state.waiting += 1
            while state.exclusive or state.shared:
                self._condition.wait()
            state.waiting -= 1
            state.exclusive = True
        try:
            yield
        finally:
            with self._condition:
                state.exclusive = False
                self._drop(key, state)

    def _state(self, key: Hashable) -> _State:
        return self._states.setdefault(key, _State())

    def _drop(self, key: Hashable, state: _State) -> None:
        if state.idle:
            del self._states[key]
        self._condition.notify_all()
