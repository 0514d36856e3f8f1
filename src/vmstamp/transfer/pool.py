"""Pieces of a transfer, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from vmstamp.extents import Extent


def each(pieces: Iterable[Extent], work: Callable[[Extent], None], concurrency: int, name: str) -> None:
    """Do `work` for all pieces with at most `concurrency` in flight; the first error ends it.

    Blocks; what is in flight then is waited for. `name` is the threads'.
    """
    with ThreadPoolExecutor(concurrency, thread_name_prefix=name) as pool:
        flying: set[Future[None]] = set()
        for piece in pieces:
            if len(flying) >= concurrency:
                done, flying = wait(flying, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            flying.add(pool.submit(work, piece))
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
