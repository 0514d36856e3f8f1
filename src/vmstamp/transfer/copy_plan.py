"""What a copy has to do, decided before it does anything; pure.

    nothing            the destination is this snapshot already, and untouched since
    copy-blob          one request, Copy Blob: in the same account or stamp, or a blob that is no page blob
    put-page-from-url  Put Page From URL for each piece of the ranges that hold data, or that changed; a piece
                       that the service cannot read there (CannotVerifyCopySource) is read and written here

A copy of a snapshot says in its metadata of which, and when it was finished (COPY_OF, COPY_SNAPSHOT,
COPY_TIME). When nothing was written to it since, a newer snapshot needs only what changed between the two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import quote

from vmstamp.extents import Extent, Extents
from vmstamp.transfer.destination import MARK
from vmstamp.transfer.plan import FOOTER_LENGTH, MAX_PUT_PAGE, PAGE, Plan

Way = Literal["nothing", "copy-blob", "put-page-from-url"]

COPY_OF = "vmstampcopyof"  # ACCOUNT/CONTAINER/BLOB, percent-encoded
COPY_SNAPSHOT = "vmstampcopysnapshot"
COPY_TIME = "vmstampcopytime"  # the Last-Modified of the blob as the copy left it
_OWN = frozenset({MARK, COPY_OF, COPY_SNAPSHOT, COPY_TIME})


@dataclass(frozen=True)
class Marks:
    """What a destination's metadata tells of an earlier copy; '' where nothing."""

    source: str = ""
    snapshot: str = ""
    time: str = ""
    unfinished: str = ""


def read_marks(metadata: Mapping[str, str]) -> Marks:
    """The marks in a blob's metadata, whose names a service may give in any case."""
    found = {name.lower(): value for name, value in metadata.items()}
    return Marks(*(found.get(name, "") for name in (COPY_OF, COPY_SNAPSHOT, COPY_TIME, MARK)))


def without_marks(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that is the source's own, and goes along."""
    return {name: value for name, value in metadata.items() if name.lower() not in _OWN}


def source_mark(name: str) -> str:
    """A source's name as metadata: ASCII."""
    return quote(name, safe="/")


def time_mark(moment: datetime) -> str:
    """A Last-Modified as metadata: seconds are all that the service tells."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def copy_mark(name: str, snapshot: str, etag: str, size: int) -> str:
    """What tells whether an unfinished copy is one of this source as it is now."""
    return hashlib.sha256(json.dumps([name, snapshot, etag, size]).encode()).hexdigest()[:32]


def known_base(marks: Marks, source: str, snapshot: str, mark: str, modified: datetime) -> str:
    """The snapshot that a destination is a copy of, untouched or being changed by this same copy; else ''."""
    if not snapshot or marks.source != source_mark(source) or not marks.snapshot:
        return ""
    ours = marks.unfinished == mark if marks.unfinished else marks.time == time_mark(modified)
    return marks.snapshot if ours and marks.snapshot <= snapshot else ""


@dataclass(frozen=True)
class Step:
    """One thing that a copy does: in words, with its requests and the bytes that they move."""

    what: str
    requests: int = 1
    bytes: int = 0


@dataclass(frozen=True)
class CopyPlan:
    """Which way, why, and what of it is to be done. All counts are bytes.

    `ranges` is what the source holds, `etag` the destination's, '' when it is not there. `since`: only what
    changed after that snapshot. `creates`: the destination is made first. `into`: it is a managed disk's,
    that stays. `kept` is there from an earlier try.
    """

    source: str
    destination: str
    way: Way
    why: str
    logical: int
    ranges: Extents = field(repr=False)
    etag: str = ""
    pages: Plan = field(repr=False, default=Plan(Extents(), Extents(), Extent(0, 0)))
    since: str = ""
    creates: bool = True
    into: bool = False
    kept: int = 0

    @property
    def has_footer(self) -> bool:
        """Whether the source's last page holds data."""
        return bool(self.ranges.intersect(Extents([self.pages.footer])))

    @property
    def total(self) -> int:
        """The bytes that are to be moved."""
        if self.way != "put-page-from-url":
            return 0
        return self.pages.writes.length + self.has_footer * FOOTER_LENGTH

    def pieces(self) -> Iterator[Extent]:
        """The writes, without the footer, as ranges of one request each."""
        return self.pages.pieces(MAX_PUT_PAGE)

    def steps(self) -> list[Step]:
        """What is done, in order; the requests that only look are not counted."""
        if self.way == "nothing":
            return []
        if self.way == "copy-blob":
            return [Step("Copy Blob: the service copies by itself"), Step("compare page ranges"), _ENDED]
        return [step for step in self._page_steps() if step.requests]

    def _page_steps(self) -> Iterator[Step]:
        if self.creates:
            yield Step(f"Put Blob: an empty page blob of {self.logical} bytes")
        if self.since:
            yield Step("Set Blob Metadata: it is unfinished")
            yield Step("Clear Pages: the footer, so that nothing takes it for a disk")
        cleared = self.pages.clears
        yield Step(f"Clear Pages: {cleared.length} bytes that the source does not hold", len(cleared))
        count = sum(1 for _ in self.pieces())
        yield Step("Put Page From URL: what the source holds", count, self.pages.writes.length)
        yield Step("Put Page From URL: the footer", int(self.has_footer), FOOTER_LENGTH)
        yield Step("compare page ranges")
        if not self.into:
            yield _ENDED


_ENDED = Step("Set Blob Metadata: it is whole")


def whole_pages(data: Extents, present: Extents, size: int) -> Plan:
    """Everything that `data` holds, into a page blob of `size` bytes that holds `present`, which is right
    where `data` holds something.

    A multiple of 512; an empty page blob has no footer.
    """
    footer = Extent(max(size - FOOTER_LENGTH, 0), size)
    last = Extents([footer])
    wanted = data.align(PAGE)
    return Plan(wanted.subtract(present).subtract(last), present.align(PAGE).subtract(wanted), footer)


def changed_pages(written: Extents, cleared: Extents, size: int) -> Plan:
    """What changed between two snapshots of a page blob of `size` bytes."""
    footer = Extent(max(size - FOOTER_LENGTH, 0), size)
    last = Extents([footer])
    return Plan(written.align(PAGE).subtract(last), cleared.align(PAGE).subtract(last), footer)
