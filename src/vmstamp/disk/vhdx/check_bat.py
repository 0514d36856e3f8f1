"""Are the entries of a VHDX's BAT as [MS-VHDX] 2.5 wants them, and does nothing lie over anything else?"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from vmstamp.disk.file import ImageFile
from vmstamp.disk.problem import Problem
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.layout import MIB, Parameters
from vmstamp.disk.vhdx.reader import Region

BITMAP_SPEC = "[MS-VHDX] 2.5.1.2"
STEP = 8192  # entries read at once
RESERVED = 0xFFFF8  # bits 3-19 of an entry
# Twice what the largest disk needs: a file that reaches farther cannot make us keep more than 16 MiB.
REACH = 2 * layout.MAX_SIZE

Named = tuple[str, Region]


class Occupied:
    """Which MiB of a file are taken: a bit for each, so the memory is a 2^23rd of the file's reach."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def take(self, offset: int, length: int) -> bool:
        """Take the MiB that hold [offset, offset + length), under REACH; False: some was taken before."""
        first, end = offset // MIB, -(-(offset + length) // MIB)
        low, high = first // 8, -(-end // 8)
        self._bits.extend(bytes(max(0, high - len(self._bits))))
        mask = ((1 << (end - first)) - 1) << first % 8
        before = int.from_bytes(self._bits[low:high], "little")
        self._bits[low:high] = (before | mask).to_bytes(high - low, "little")
        return not before & mask


def check_bat(
    file: ImageFile, bat: Region, parameters: Parameters, others: Sequence[Named]
) -> Iterator[Problem]:
    """Problems of the BAT, each at its entry, by the order of the file; `others` is what else has a place."""
    occupied = Occupied()
    for name, region in others:
        if region.offset + region.length <= REACH and not occupied.take(region.offset, region.length):
            yield Problem(f"{name} lies over something else", region.offset, layout.REGION_SPEC)
    check = _Entries(file, bat, parameters, others, occupied)
    for stored in file.extents(bat.offset, bat.offset + parameters.bat_entry_count * 8):
        low, high = (stored.start - bat.offset) // 8, -(-(stored.end - bat.offset) // 8)
        for start in range(low, high, STEP):
            count = min(STEP, high - start)
            raw = file.read(bat.offset + start * 8, count * 8, what="the BAT")
            for index, entry in enumerate(struct.unpack(f"<{count}Q", raw), start):
                if entry:
                    yield from check.entry(index, entry)


class _Entries:
    """What one entry must be, given those before it."""

    def __init__(
        self,
        file: ImageFile,
        bat: Region,
        parameters: Parameters,
        others: Sequence[Named],
        occupied: Occupied,
    ) -> None:
        self._file, self._bat, self._it = file, bat, parameters
        self._others, self._occupied = others, occupied

    def entry(self, index: int, entry: int) -> Iterator[Problem]:
        ratio = self._it.chunk_ratio
        chunk, place = divmod(index, ratio + 1)
        at = self._bat.offset + index * 8
        state = entry & layout.STATE_MASK
        if place == ratio:
            name, spec, length = f"the sector bitmap of chunk {chunk}", BITMAP_SPEC, MIB
            valid = state == layout.NOT_PRESENT or (self._it.has_parent and state == layout.FULLY_PRESENT)
        else:
            block = index - chunk
            if block >= self._it.block_count:
                return
            name, spec = f"block {block}", layout.BAT_SPEC
            length = min(self._it.block_size, self._it.size - block * self._it.block_size)
            partly = state == layout.PARTIALLY_PRESENT
            valid = state in (*layout.READS_AS_ZERO, layout.FULLY_PRESENT) or (partly and self._it.has_parent)
            if partly and valid:
                yield from self._bitmap(block, at)
        if not valid:
            yield Problem(f"the BAT entry of {name} has state {state}, which is not valid here", at, spec)
        elif state in (layout.FULLY_PRESENT, layout.PARTIALLY_PRESENT):
            yield from self._place(name, entry, at, length, spec)

    def _bitmap(self, block: int, at: int) -> Iterator[Problem]:
        ratio = self._it.chunk_ratio
        bitmap_at = self._bat.offset + (block // ratio * (ratio + 1) + ratio) * 8
        state = self._file.read(bitmap_at, 1, what="the BAT")[0] & layout.STATE_MASK
        if state != layout.FULLY_PRESENT:
            yield Problem(f"block {block} is partly present, but has no sector bitmap", at, BITMAP_SPEC)

    def _place(self, name: str, entry: int, at: int, length: int, spec: str) -> Iterator[Problem]:
        position = entry & layout.OFFSET_MASK
        end = position + length
        if entry & RESERVED:
            yield Problem(f"the BAT entry of {name} has reserved bits set", at, spec)
        if end > self._file.size:
            yield Problem(f"{name} would end at byte {end}, behind the end of the file", at, spec)
        elif end > REACH:
            yield Problem(f"{name} lies at byte {position}, farther than any disk needs", at, spec)
        elif not self._occupied.take(position, length):
            yield Problem(f"{name} at byte {position} lies over {self._holder(position, end)}", at, spec)

    def _holder(self, start: int, end: int) -> str:
        for name, region in self._others:
            if start < region.offset + region.length and region.offset < end:
                return name
        return "another block"
