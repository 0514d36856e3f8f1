"""Pace: how many requests of one client are in flight, and when the next may go.

A service that is busy says so (429, 503) and after how many seconds to come again (Retry-After). Then nothing
goes until that is over, and half as many at once; every RAISE_AFTER good answers it is one more again: what
TCP does on a shared line, and for the same reason.

`PacedRetry` is the SDK's retry policy for every request of a client: what failed on the way is tried again
soon, and a busy service waited for, up to PATIENCE in all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.storage.blob import ExponentialRetry

from vmstamp.transfer.pool import pause

MOST = 32  # requests in flight at once, whatever the caller's threads
RAISE_AFTER = 20  # good answers in a row
PATIENCE = 120.0  # seconds that one request waits for a busy service, in all
LONGEST_STEP = 16.0  # seconds, where the service does not say how long
TRIES = 4  # of a request that failed on the way, or at an error of the service
FIRST_RETRY = 0.5  # seconds; then twice as long each time
BUSY = (429, 503)
PASSING = (408, 500, 502, 504)
_BUSY_CODES = ("ServerBusy", "OperationTimedOut")  # x-ms-copy-source-error-code of a busy source


@dataclass
class Turn:
    """One request's turn. `round` tells whether the pace was lowered since it began."""

    round: int


class Pace:
    """Thread-safe: the workers of a transfer share it. `clock` and `sleep` count seconds."""

    def __init__(
        self,
        most: int = MOST,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        self._most = self.limit = most
        self._clock = clock
        self.sleep = sleep
        self._free = threading.Condition()
        self._running = 0
        self._good = 0
        self._round = 0
        self._opens = clock()  # nothing goes before

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Around one request: waits until it may go."""
        while (delay := self._try_enter()) > 0:
            self.sleep(delay)
        try:
            yield Turn(self._round)
        finally:
            with self._free:
                self._running -= 1
                self._free.notify_all()

    def _try_enter(self) -> float:
        """Take a place; else the seconds until another try."""
        with self._free:
            while self._running >= self.limit:
                self._free.wait()
            delay = self._opens - self._clock()
            if delay <= 0:
                self._running += 1
            return delay

    def busy(self, turn: Turn, seconds: float) -> None:
        """The service was busy: wait so long, and lower the limit, once for all that were in flight then."""
        with self._free:
            self._opens = max(self._opens, self._clock() + seconds)
            self._good = 0
            if turn.round == self._round:
                self._round += 1
                self.limit = max(min(self.limit, self._running) // 2, 1)

    def good(self) -> None:
        """A request was answered well."""
        with self._free:
            self._good += 1
            if self._good >= RAISE_AFTER and self.limit < self._most:
                self._good = 0
                self.limit += 1
                self._free.notify_all()


def retry_after(text: str, now: datetime) -> float | None:
    """The seconds of a Retry-After, which is a count or a date; None when it is neither. RFC 9110 10.2.3."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


class PacedRetry(ExponentialRetry):
    """Sends each request of a client in its turn, and again where that helps; see the module."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(retry_total=TRIES - 1)
        self._pace = pace

    def send(self, request: Any) -> Any:
        """The last answer, good or not. Raises the SDK's error of the last try when none came."""
        settings = self.configure_retries(request)
        tries, waited = 0, 0.0
        while True:
            response, error, wait = self._once(request, tries, waited)
            if wait is None:
                break
            waited += wait.seconds if wait.busy else 0.0
            tries += not wait.busy
            if not wait.busy:
                self._pace.sleep(wait.seconds)
            _rewind(request.http_request.body, settings["body_position"])
        if error is not None:
            raise error
        response.http_response.location_mode = settings["mode"]  # the SDK's downloads ask for it
        return response

    def _once(self, request: Any, tries: int, waited: float) -> tuple[Any, Exception | None, _Wait | None]:
        """One try in its turn: the answer or the error, and the wait before the next (None: no next)."""
        again = _Wait(FIRST_RETRY * 2**tries) if tries < TRIES - 1 else None
        with self._pace.turn() as turn:
            try:
                response = self.next.send(request)
            except (ServiceRequestError, ServiceResponseError) as error:
                return None, error, again
            status, headers = response.http_response.status_code, response.http_response.headers
            if status in BUSY or headers.get("x-ms-copy-source-error-code") in _BUSY_CODES:
                seconds = retry_after(headers.get("Retry-After", ""), datetime.now(UTC))
                seconds = min(1.0 + waited, LONGEST_STEP) if seconds is None else seconds
                self._pace.busy(turn, seconds if waited + seconds <= PATIENCE else 0.0)
                return response, None, _Wait(seconds, busy=True) if waited + seconds <= PATIENCE else None
            if status in PASSING:
                return response, None, again
            self._pace.good()
            return response, None, None


@dataclass(frozen=True)
class _Wait:
    """Seconds before the next try; of a `busy` service the pace itself lets them pass."""

    seconds: float
    busy: bool = False


def _rewind(body: Any, position: int | None) -> None:
    if position is not None and hasattr(body, "seek"):
        body.seek(position)
