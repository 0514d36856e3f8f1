"""The log of a VHDX file: found, checked, and laid over the file in memory. Little-endian.

A file that was not closed properly has writes in its log that are not, or only partly, where they belong.

Entry, at a multiple of 4 KiB in the circular log:      Descriptor, 32 bytes:
    offset size field                                       'zero', 4 reserved, 8 zero length,
         0    4 signature 'loge'                                8 file offset, 8 sequence number
         4    4 checksum: CRC-32C, this field zero          'desc', 4 trailing bytes, 8 leading bytes,
         8    4 entry length                                    8 file offset, 8 sequence number
        12    4 tail: of the sequence at this entry     Data sector, 4 KiB, one for each 'desc', in order:
        16    8 sequence number                             'data', 4 high half of the sequence number,
        24    4 descriptor count                            4084 data, 4 its low half
        32   16 log GUID
        48    8 flushed file offset
        56    8 last file offset
        64      descriptors, up to a multiple of 4 KiB

Spec: [MS-VHDX] 2.3.
"""

from __future__ import annotations

import heapq
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

import google_crc32c

from vmstamp.disk.file import ImageFile
from vmstamp.disk.vhdx.layout import MIB
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, merge

SECTOR = 4096
ENTRY = struct.Struct("<4sIIIQI4x16sQQ")
DESCRIPTOR = struct.Struct("<4s4s8sQQ")
ENTRY_SPEC, DESCRIPTOR_SPEC, SEQUENCE_SPEC = "[MS-VHDX] 2.3.1.1", "[MS-VHDX] 2.3.1.2", "[MS-VHDX] 2.3.3"
MAX_DESCRIPTORS = 1 << 18  # of one replay: the log of 1 MiB that all makers write holds less than 2^15
# A sound entry has no sector of zeros, so it lies where the file has bytes stored. It is checked once, and
# older ones reach into it at most once more: a log that needs more was made to keep us busy.
MAX_WORK = 4
MAX_FILE_SIZE = 1 << 62  # bytes; no file system has more, and it leaves room to add
BROKEN = "restore the disk from a copy: its last writes are lost, and what they changed is in pieces"


@dataclass(frozen=True)
class Patch:
    """The bytes [start, end) of the file: zeros, or (`log_offset` given) a data sector of the log."""

    start: int
    end: int
    log_offset: int | None = None
    leading: bytes = b""
    trailing: bytes = b""


@dataclass(frozen=True)
class Entry:
    """A valid entry; `at` and `tail` from the start of the log."""

    at: int
    length: int
    tail: int
    sequence_number: int
    descriptor_count: int
    flushed_file_offset: int
    last_file_offset: int


class Log:
    """The log region of `file`; `read` wraps around its end."""

    def __init__(self, file: ImageFile, offset: int, length: int, guid: UUID) -> None:
        self.file, self.offset, self.length, self.guid = file, offset, length, guid
        if offset % MIB or length % MIB or not offset or not length or offset + length > file.size:
            raise DiskError(
                file.path,
                f"the log of {length} bytes at {offset} is not inside the file in whole MiB",
                spec="[MS-VHDX] 2.2.2",
                hint=BROKEN,
            )
        self._entries: dict[int, Entry | None] = {}
        stored = sum(end - start for start, end in file.extents(offset, offset + length))
        self._work = MAX_WORK * stored
        self._lookups = MAX_WORK * stored // SECTOR

    def read(self, at: int, length: int) -> bytes:
        """`length` bytes, at most those of the log, from `at` on."""
        at %= self.length
        first = min(length, self.length - at)
        data = self.file.read(self.offset + at, first, what="the log")
        return data + (self.file.read(self.offset, length - first) if first < length else b"")

    def entry(self, at: int) -> Entry | None:
        """The valid entry at `at`, or None."""
        self._lookups -= 1
        if self._lookups < 0:
            raise self._endless()
        if at not in self._entries:
            self._entries[at] = self._parse(at)
        return self._entries[at]

    def _endless(self) -> DiskError:
        return DiskError(
            self.file.path,
            "its log has entries in entries, as no program writes it",
            offset=self.offset,
            spec=SEQUENCE_SPEC,
            hint=BROKEN,
        )

    def _parse(self, at: int) -> Entry | None:
        head = self.read(at, ENTRY.size)
        signature, found, length, tail, sequence, count, guid, flushed, last = ENTRY.unpack(head)
        if signature != b"loge" or guid != self.guid.bytes_le or not sequence:
            return None
        if length % SECTOR or not SECTOR <= length <= self.length or tail % SECTOR or tail >= self.length:
            return None
        if ENTRY.size + count * DESCRIPTOR.size > length or self._checksum(at, length) != found:
            return None
        return Entry(at, length, tail, sequence, count, flushed, last)

    def _checksum(self, at: int, length: int) -> int:
        self._work -= length
        if self._work < 0:
            raise self._endless()
        first = self.read(at, SECTOR)
        value = int(google_crc32c.value(first[:4] + bytes(4) + first[8:]))
        for start in range(SECTOR, length, MIB):
            value = int(google_crc32c.extend(value, self.read(at + start, min(MIB, length - start))))
        return value


def active_sequence(log: Log) -> list[Entry]:
    """The entries to replay, oldest first. DiskError when there is none. Spec: [MS-VHDX] 2.3.3."""
    best = max(_sequences(log), key=lambda entries: entries[-1].sequence_number, default=None)
    if best is None:
        raise DiskError(
            log.file.path,
            "the log is not empty, but holds no valid sequence of entries",
            offset=log.offset,
            spec=SEQUENCE_SPEC,
            hint=BROKEN,
        )
    start = next(index for index, entry in enumerate(best) if entry.at == best[-1].tail)
    return best[start:]


def _sequences(log: Log) -> Iterator[list[Entry]]:
    """The log's sequences whose last entry names one of them as its tail, by their place in the log."""
    behind = 0
    for at in _signatures(log):
        if at < behind:
            continue
        found = _sequence_from(log, at)
        if found and any(entry.at == found[-1].tail for entry in found):
            yield found
            behind = at + sum(entry.length for entry in found)


def _signatures(log: Log) -> Iterator[int]:
    """Where an entry may begin, ascending; holes of the file are not read."""
    for stored in log.file.extents(log.offset, log.offset + log.length):
        low, high = (stored.start - log.offset) // SECTOR * SECTOR, stored.end - log.offset
        for start in range(low, high, MIB):
            data = log.read(start, min(MIB, high - start))
            yield from (start + at for at in range(0, len(data), SECTOR) if data[at : at + 4] == b"loge")


def _sequence_from(log: Log, at: int) -> list[Entry]:
    """The valid entries that follow each other from `at` on, in the log's circle once."""
    found: list[Entry] = []
    total = 0
    while True:
        entry = log.entry((at + total) % log.length)
        if entry is None or total + entry.length > log.length:
            return found
        if found and entry.sequence_number != found[-1].sequence_number + 1:
            return found
        found.append(entry)
        total += entry.length


def _patches(log: Log, entry: Entry) -> Iterator[Patch]:
    """What an entry writes, in its order. DiskError when a descriptor is not as specified."""
    data_at = entry.at + -(-(ENTRY.size + entry.descriptor_count * DESCRIPTOR.size) // SECTOR) * SECTOR
    end = entry.at + entry.length
    for index in range(entry.descriptor_count):
        at = entry.at + ENTRY.size + index * DESCRIPTOR.size
        signature, four, eight, offset, sequence = DESCRIPTOR.unpack(log.read(at, DESCRIPTOR.size))
        zero_length = int.from_bytes(eight, "little") if signature == b"zero" else SECTOR
        wrong = sequence != entry.sequence_number or offset % SECTOR or zero_length % SECTOR
        if wrong or signature not in (b"zero", b"desc") or offset + zero_length > MAX_FILE_SIZE:
            raise _bad(log, at, "a descriptor of the log is not as specified", DESCRIPTOR_SPEC)
        if signature == b"zero":
            yield Patch(offset, offset + zero_length)
            continue
        if data_at + SECTOR > end:
            raise _bad(log, at, "a descriptor of the log has no data sector", DESCRIPTOR_SPEC)
        sector = log.read(data_at, SECTOR)
        number = int.from_bytes(sector[4:8], "little") << 32 | int.from_bytes(sector[-4:], "little")
        if sector[:4] != b"data" or number != sequence:
            raise _bad(log, data_at, "a data sector of the log is torn", "[MS-VHDX] 2.3.1.4")
        yield Patch(offset, offset + SECTOR, data_at % log.length, eight, four)
        data_at += SECTOR


def _bad(log: Log, at: int, what: str, spec: str) -> DiskError:
    return DiskError(log.file.path, what, offset=log.offset + at % log.length, spec=spec, hint=BROKEN)


def flatten(patches: Sequence[Patch]) -> list[Patch]:
    """Disjoint ascending pieces of `patches`, of which the later one counts where two overlap.

    A data sector is never cut: offsets and lengths are whole sectors.
    """
    edges = sorted({edge for patch in patches for edge in (patch.start, patch.end)})
    starting = sorted(range(len(patches)), key=lambda order: patches[order].start)
    active: list[int] = []
    pieces: list[Patch] = []
    following = 0
    for low, high in pairwise(edges):
        while following < len(starting) and patches[starting[following]].start <= low:
            heapq.heappush(active, -starting[following])
            following += 1
        while active and patches[-active[0]].end <= low:
            heapq.heappop(active)
        if active:
            patch = patches[-active[0]]
            pieces.append(patch if patch.log_offset is not None else Patch(low, high))
    return pieces


class ReplayedFile(ImageFile):
    """`file` with the writes of its log laid over it; takes over its descriptor. Nothing is written.

    Keeps where in the log the writes lie, not their bytes.
    """

    def __init__(self, file: ImageFile, log: Log) -> None:
        entries = active_sequence(log)
        if sum(entry.descriptor_count for entry in entries) > MAX_DESCRIPTORS:
            raise _bad(log, 0, f"the log has more than {MAX_DESCRIPTORS} descriptors", DESCRIPTOR_SPEC)
        newest = entries[-1]
        if file.size < newest.flushed_file_offset:
            raise DiskError(
                file.path,
                f"the file ends at byte {file.size}, its log says that it had {newest.flushed_file_offset}",
                offset=log.offset + newest.at,
                spec=ENTRY_SPEC,
                hint="the file is truncated; copy it again from its source",
            )
        if newest.last_file_offset > MAX_FILE_SIZE:
            what = f"the log says that the file has {newest.last_file_offset} bytes"
            raise _bad(log, newest.at, what, ENTRY_SPEC)
        self.path = file.path
        self.real = file
        self.patches = flatten([patch for entry in entries for patch in _patches(log, entry)])
        self.size = max(file.size, newest.last_file_offset)
        self._fd = file._fd
        self._log = log
        self._starts = [patch.start for patch in self.patches]

    def content(self, patch: Patch) -> bytes:
        """The bytes of a data sector."""
        assert patch.log_offset is not None
        return patch.leading + self._log.read(patch.log_offset + 8, SECTOR - 12) + patch.trailing

    def _touching(self, start: int, end: int) -> Iterator[Patch]:
        index = max(bisect_right(self._starts, start) - 1, 0)
        while index < len(self.patches) and self.patches[index].start < end:
            if self.patches[index].end > start:
                yield self.patches[index]
            index += 1

    def read(self, offset: int, length: int, *, what: str = "data", spec: str = "") -> bytes:
        data = bytearray(length)
        self.read_into(offset, memoryview(data), what=what, spec=spec)
        return bytes(data)

    def read_into(self, offset: int, view: memoryview, *, what: str = "data", spec: str = "") -> None:
        end = offset + len(view)
        self._check_inside(offset, len(view), what, spec)
        held = max(0, min(end, self.real.size) - offset)
        if held:
            self.real.read_into(offset, view[:held], what=what, spec=spec)
        view[held:] = bytes(len(view) - held)
        for patch in self._touching(offset, end):
            low, high = max(patch.start, offset), min(patch.end, end)
            if patch.log_offset is None:
                view[low - offset : high - offset] = bytes(high - low)
            else:
                content = self.content(patch)
                view[low - offset : high - offset] = content[low - patch.start : high - patch.start]

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        written = (
            Extent(max(patch.start, start), min(patch.end, end))
            for patch in self._touching(start, end)
            if patch.log_offset is not None
        )
        return merge(heapq.merge(self.real.extents(start, min(end, self.real.size)), written))

    def clone(self, fd: int, length: int) -> bool:
        return False

    def close(self) -> None:
        self.real.close()
