"""Is a VHD file as its specification wants it, and what of it can be put right?"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise

from vmstamp.disk.base import SECTOR
from vmstamp.disk.file import ImageFile, write_at
from vmstamp.disk.footer import (
    COOKIE,
    FEATURES_RESERVED,
    FIXED,
    FOOTER_SIZE,
    NO_DATA_OFFSET,
    checksum,
    parse_footer,
)
from vmstamp.disk.footer import SPEC as FOOTER_SPEC
from vmstamp.disk.problem import Problem, broken
from vmstamp.disk.vhd import (
    BAT_SPEC,
    DYNAMIC_HEADER,
    DYNAMIC_SPEC,
    UNUSED,
    DynamicVhdFile,
    find_footer,
    open_vhd,
)
from vmstamp.errors import DiskError

STEP = 16384  # entries of the BAT read at once


def check_vhd(file: ImageFile) -> Iterator[Problem]:
    """What is wrong, most basic first. Parents are not looked at; memory by what is allocated."""
    try:
        footer, end, _ = find_footer(file)
    except DiskError as error:
        yield broken(error)
        return
    if file.size - end == FOOTER_SIZE - 1:
        yield Problem("the footer has 511 bytes, not 512", end, FOOTER_SPEC, "the missing byte is added")
    elif footer.disk_type != FIXED:
        yield from _check_copies(file)
    yield from _check_footer(file)
    try:
        disk = open_vhd(file, None)
    except DiskError as error:
        yield broken(error)
        return
    if isinstance(disk, DynamicVhdFile):
        yield from _check_header(disk)
        yield from _Blocks(disk).check()
    elif footer.current_size != end:
        yield Problem(
            f"the footer says {footer.current_size} bytes, but {end} lie before it", end + 48, FOOTER_SPEC
        )


def _check_copies(file: ImageFile) -> Iterator[Problem]:
    """The footer at the end and its copy at the start; one of them is good."""
    first = file.read(0, FOOTER_SIZE)
    at = file.size - FOOTER_SIZE
    last = file.read(at, FOOTER_SIZE)
    if not _is_footer(last, file, at):
        yield Problem(
            "there is no valid footer at the end", at, FOOTER_SPEC, "it is written from the copy at byte 0"
        )
    elif first != last:
        yield Problem(
            "the copy of the footer is not the footer", 0, FOOTER_SPEC, "it is written from the footer"
        )


def _is_footer(data: bytes, file: ImageFile, at: int) -> bool:
    try:
        parse_footer(data, file.path, at)
    except DiskError:
        return False
    return True


def _valid_footer(file: ImageFile) -> tuple[bytes, int]:
    """The 512 bytes of the footer that counts, and where it lies. Raises DiskError when there is none."""
    _, end, _ = find_footer(file)
    at = end if end < file.size else 0
    return file.read(at, min(FOOTER_SIZE, file.size - at)).ljust(FOOTER_SIZE, b"\0"), at


def _check_footer(file: ImageFile) -> Iterator[Problem]:
    """The fields that have one valid value."""
    data, at = _valid_footer(file)
    settled = _settle_footer(data)
    if data[8:12] != settled[8:12]:
        yield Problem("bit 1 of the features is clear", at + 8, FOOTER_SPEC, "it is set")
    if data[16:24] != settled[16:24]:
        what = f"the data offset of a fixed disk is {int.from_bytes(data[16:24], 'big'):#x}, not all ones"
        yield Problem(what, at + 16, FOOTER_SPEC, "it is set")


def _settle_footer(data: bytes) -> bytes:
    """A valid footer with the only values that some fields may have."""
    settled = bytearray(data)
    features, disk_type = int.from_bytes(data[8:12], "big"), int.from_bytes(data[60:64], "big")
    struct.pack_into(">I", settled, 8, features | FEATURES_RESERVED)
    if disk_type == FIXED:
        struct.pack_into(">Q", settled, 16, NO_DATA_OFFSET)
    struct.pack_into(">I", settled, 64, checksum(bytes(settled)))
    return bytes(settled)


def _check_header(disk: DynamicVhdFile) -> Iterator[Problem]:
    at = disk.footer.data_offset
    if at % SECTOR:
        yield Problem(f"the dynamic disk header lies at byte {at}, not at a sector", at, DYNAMIC_SPEC)
    if disk.table_offset % SECTOR:
        yield Problem(f"the BAT lies at byte {disk.table_offset}, not at a sector", at + 16, DYNAMIC_SPEC)


class _Blocks:
    """The blocks of a dynamic disk: each inside of the file, and none over another or over a structure."""

    def __init__(self, disk: DynamicVhdFile) -> None:
        self._disk = disk
        self._length = disk.bitmap_size + disk.block_size
        self._numbers, self._sectors = array("I"), array("I")  # of the blocks that are in the file

    def check(self) -> Iterator[Problem]:
        """Problems of the BAT, each at its entry; what has no place of its own comes last."""
        for start in range(0, self._disk.block_count, STEP):
            yield from self._check_entries(start, min(STEP, self._disk.block_count - start))
        yield from self._check_overlaps()

    def _entry_at(self, block: int) -> int:
        return self._disk.table_offset + block * 4

    def _check_entries(self, start: int, count: int) -> Iterator[Problem]:
        raw = self._disk.file.read(self._entry_at(start), count * 4, what="the BAT", spec=BAT_SPEC)
        for block, entry in enumerate(struct.unpack(f">{count}I", raw), start):
            end = entry * SECTOR + self._length
            if entry == UNUSED:
                continue
            if not entry:
                what = f"the BAT says that block {block} lies at the start of the file"
                yield Problem(what, self._entry_at(block), BAT_SPEC)
            elif end > self._disk.file.size:
                what = f"block {block} would end at byte {end}, behind the end of the file"
                yield Problem(what, self._entry_at(block), BAT_SPEC)
            else:
                self._numbers.append(block)
                self._sectors.append(entry)

    def _check_overlaps(self) -> Iterator[Problem]:
        others = _structures(self._disk)
        end, holder = 0, ""
        for index in sorted(range(len(self._sectors)), key=self._sectors.__getitem__):
            block, at = self._numbers[index], self._sectors[index] * SECTOR
            holders = [name for low, high, name in others if at < high and low < at + self._length]
            if at < end:
                holders.append(holder)
            if holders:
                what = f"block {block} at byte {at} lies over {holders[0]}"
                yield Problem(what, self._entry_at(block), BAT_SPEC)
            end, holder = at + self._length, f"block {block}"
        for (low, high, name), (start, _, other) in pairwise(others):
            if start < high:
                yield Problem(f"{other} lies over {name}, which begins at byte {low}", start, BAT_SPEC)


def _structures(disk: DynamicVhdFile) -> list[tuple[int, int, str]]:
    """(start, end, name) of what is not a block, in the order of the file."""
    header = disk.footer.data_offset
    return sorted(
        [
            (0, FOOTER_SIZE, "the copy of the footer"),
            (header, header + DYNAMIC_HEADER.size, "the dynamic disk header"),
            (disk.table_offset, disk.table_offset + disk.block_count * 4, "the BAT"),
        ]
    )


def repair_vhd(file: ImageFile, fd: int) -> None:
    """Mend `fd`, a whole copy of `file`: the footer and its copy, from the one of them that is good.

    Raises DiskError when none is.
    """
    footer, end, _ = find_footer(file)
    data = _settle_footer(_valid_footer(file)[0])
    if footer.disk_type == FIXED:
        write_at(fd, data, end)
        return
    place = end if end < file.size else _footer_place(file)
    write_at(fd, data, place)
    os.ftruncate(fd, place + FOOTER_SIZE)
    os.fsync(fd)
    write_at(fd, data, 0)
    os.fsync(fd)


def _footer_place(file: ImageFile) -> int:
    """Where the footer of a dynamic disk goes that has only the copy: over what is left of the old one."""
    if file.read(file.size - FOOTER_SIZE, len(COOKIE)) == COOKIE:
        return file.size - FOOTER_SIZE
    disk = open_vhd(file, None)
    assert isinstance(disk, DynamicVhdFile)
    ends: list[int] = [high for _, high, _ in _structures(disk)]
    ends += [position + disk.block_size for _, position in disk.allocated()]
    end = -(-max(ends) // SECTOR) * SECTOR
    return end if 0 <= file.size - end <= FOOTER_SIZE else -(-file.size // SECTOR) * SECTOR
