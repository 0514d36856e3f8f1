"""Where two byte ranges differ, found by reading both. Pure but for the reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from vmstamp.extents import Extent, merge

GRAIN: Final = 4096  # bytes: a difference is reported in whole grains
CHUNK: Final = 2**20  # bytes read at once, a multiple of GRAIN

Read = Callable[[int, int], bytes]


def changed(new: Read, old: Read, spans: Iterable[Extent]) -> Iterator[Extent]:
    """The grains within `spans` whose bytes differ, ascending and merged, cut at the ends of the spans.

    `new` and `old` give the bytes at (offset, length); `spans` are ascending and disjoint.
    """
    pieces = (piece for span in spans for piece in _pieces(span))
    return merge(found for piece in pieces for found in _differing(new, old, piece))


def _pieces(span: Extent) -> Iterator[Extent]:
    for start in range(span.start, span.end, CHUNK):
        yield Extent(start, min(start + CHUNK, span.end))


def _differing(new: Read, old: Read, piece: Extent) -> Iterator[Extent]:
    left, right = new(piece.start, piece.length), old(piece.start, piece.length)
    if left == right:
        return
    for at in range(0, piece.length, GRAIN):
        if left[at : at + GRAIN] != right[at : at + GRAIN]:
            yield Extent(piece.start + at, min(piece.start + at + GRAIN, piece.end))
