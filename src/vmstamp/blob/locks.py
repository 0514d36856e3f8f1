"""Shared and exclusive locks by key, and claims on spans of bytes, for threads of one process.

Many threads may hold a key shared, or one of them exclusively. A key is given in the order in which it
was asked for, so neither kind can starve the other. Not reentrant: a thread that holds a key must not ask
for it again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class _State:
    shared: int = 0
    exclusive: bool = False
    queue: deque[object] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        return not (self.shared or self.exclusive or self.queue)


class WouldWait(Exception):
    """What was asked for is not free, and this thread does not wait (`KeyLocks.without_waiting`)."""


class KeyLocks:
    """The locks of all keys; a key takes memory only while it is held or awaited."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._local = threading.local()
        self._states: dict[Hashable, _State] = {}

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """This thread gets WouldWait where it would have to wait for a key."""
        self._local.hurried = True
        try:
            yield
        finally:
            self._local.hurried = False

    def refuse_to_wait(self) -> None:
        """Raise WouldWait in a thread that does not wait: what comes next takes long."""
        if getattr(self._local, "hurried", False):
            raise WouldWait

    @contextmanager
    def shared(self, key: Hashable) -> Iterator[None]:
        with self._condition:
            state = self._states.setdefault(key, _State())
            self._await_turn(state, lambda: not state.exclusive)
            state.shared += 1
        try:
            yield
        finally:
            with self._condition:
                state.shared -= 1
                self._go_on(key, state)

    @contextmanager
    def exclusive(self, key: Hashable) -> Iterator[None]:
        with self._condition:
            state = self._states.setdefault(key, _State())
            self._await_turn(state, lambda: not (state.exclusive or state.shared))
            state.exclusive = True
        try:
            yield
        finally:
            with self._condition:
                state.exclusive = False
                self._go_on(key, state)

    def _await_turn(self, state: _State, free: Callable[[], bool]) -> None:
        if not state.queue and free():
            return
        self.refuse_to_wait()
        turn = object()
        state.queue.append(turn)
        self._condition.wait_for(lambda: state.queue[0] is turn and free())
        state.queue.popleft()
        if state.queue:
            self._condition.notify_all()

    def _go_on(self, key: Hashable, state: _State) -> None:
        """Wake who waits; forget a key that nobody wants."""
        if state.queue:
            self._condition.notify_all()
        elif state.idle:
            self._states.pop(key, None)


class Claims:
    """Half-open spans by key, of which no two overlap. Thread-safe; nothing here waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: dict[Hashable, list[tuple[int, int]]] = {}

    @contextmanager
    def claim(self, key: Hashable, start: int, end: int) -> Iterator[bool]:
        """Claim a span for as long as the block takes, if all of it is free: whether that is so."""
        with self._lock:
            spans = self._spans.setdefault(key, [])
            free = all(end <= first or last <= start for first, last in spans)
            if free:
                spans.append((start, end))
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    spans.remove((start, end))
                    if not spans:
                        del self._spans[key]
