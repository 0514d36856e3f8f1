"""Pieces of a transfer, side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from vmstamp.errors import TransferError
from vmstamp.extents import Extent

_thread = threading.local()  # `ending`: the event that ends the pauses of this worker


def workers(concurrency: int, name: str, ending: threading.Event) -> ThreadPoolExecutor:
    """A pool whose workers' pauses end when `ending` is set."""
    return ThreadPoolExecutor(concurrency, name, initializer=lambda: setattr(_thread, "ending", ending))


def pause(seconds: float) -> None:
    """Sleep; in a worker of a pool that ends, raise TransferError instead: Ctrl-C need not wait for it."""
    ending: threading.Event | None = getattr(_thread, "ending", None)
    if ending is None:
        time.sleep(seconds)
    elif ending.wait(seconds):
        raise TransferError("the transfer was ended")


def each(pieces: Iterable[Extent], work: Callable[[Extent], None], concurrency: int, name: str) -> None:
    """Do `work` for all pieces with at most `concurrency` in flight; the first error ends it.

    Blocks; what is in flight then is waited for, but not its pauses. `name` is the threads'.
    """
    ending = threading.Event()
    with workers(concurrency, name, ending) as pool:
        try:
            _do(pieces, work, concurrency, pool)
        except BaseException:
            ending.set()
            raise


def _do(
    pieces: Iterable[Extent], work: Callable[[Extent], None], concurrency: int, pool: ThreadPoolExecutor
) -> None:
    flying: set[Future[None]] = set()
    for piece in pieces:
        if len(flying) >= concurrency:
            flying = _wait_for_one(flying)
        flying.add(pool.submit(work, piece))
    while flying:
        flying = _wait_for_one(flying)


def _wait_for_one(flying: set[Future[None]]) -> set[Future[None]]:
    """Those still in flight when one at least has ended; its error is raised."""
    done, flying = wait(flying, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return flying
