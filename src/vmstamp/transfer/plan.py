"""What a transfer into a page blob has to do, as pure range arithmetic.

`writes = data - present` and `clears = present - data`: a fresh destination (nothing present), a resumed
one (a part of our own data present) and a dirty one (foreign ranges present) are the same formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.extents import Extent, Extents

PAGE = 512  # bytes; REST: Put Page, ranges are aligned to it
MAX_PUT_PAGE = 4 * 1024 * 1024  # bytes; REST: Put Page, the longest range of one request
FOOTER_LENGTH = 512  # bytes at the end of a fixed VHD
_ZEROS = bytes(MAX_PUT_PAGE)


@dataclass(frozen=True)
class Plan:
    """The ranges to write (without the footer), to clear, and the footer's own range, written last.

    The footer goes last so that an unfinished upload can never be taken for a VHD.
    """

    writes: Extents
    clears: Extents
    footer: Extent

    def pieces(self, length: int = MAX_PUT_PAGE) -> Iterator[Extent]:
        """The writes in pieces of at most `length` bytes, ascending; the footer is not among them."""
        return self.writes.split(length)


def make_plan(data: Extents, present: Extents, size: int) -> Plan:
    """Plan the transfer of a fixed VHD of `size` bytes (footer included) with `data` into `present`.

    Ranges grow outwards to whole pages. Raises ValueError when `size` is not a whole number of pages.
    """
    if size % PAGE or size < FOOTER_LENGTH:
        raise ValueError(f"a page blob of {size} bytes is not a whole number of {PAGE}-byte pages")
    footer = Extent(size - FOOTER_LENGTH, size)
    wanted = data.align(PAGE)
    return Plan(
        writes=wanted.subtract(present).subtract(Extents([footer])),
        clears=present.align(PAGE).subtract(wanted.union(Extents([footer]))),
        footer=footer,
    )


def trim_zeros(data: bytes, unit: int = PAGE) -> tuple[int, int]:
    """The span [start, end) of `data` left when leading and trailing all-zero units go; (0, 0) when none is.

    `len(data)` is a multiple of `unit`, at most 4 MiB; so are both ends. (Comparing with zeros is ten times
    faster than counting or stripping them.)
    """
    if data == _ZEROS[: len(data)]:
        return 0, 0
    start = (len(data) - len(data.lstrip(b"\0"))) // unit * unit if data[0] == 0 else 0
    end = -(-len(data.rstrip(b"\0")) // unit) * unit if data[-1] == 0 else len(data)
    return start, end
