"""Is a VHDX file as [MS-VHDX] wants it, and what of it can be put right?"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from uuid import UUID

from vmstamp.disk.blocks import ZERO
from vmstamp.disk.file import ImageFile, write_at
from vmstamp.disk.problem import Problem, broken, overlaps
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.layout import KIB, MIB
from vmstamp.disk.vhdx.log import ReplayedFile
from vmstamp.disk.vhdx.reader import Header, Vhdx, read_headers, replay
from vmstamp.errors import DiskError

LAST_SEQUENCE_NUMBER = 2**64 - 3  # that has two behind it


def check_vhdx(file: ImageFile) -> Iterator[Problem]:
    """What is wrong, most basic first. Parents are not looked at; memory by what is allocated."""
    try:
        headers = read_headers(file)
    except DiskError as error:
        yield broken(error)
        return
    current = max(headers, key=lambda header: header.sequence_number)
    for offset in layout.HEADER_OFFSETS:
        if all(header.at != offset for header in headers):
            yield Problem(
                "the header's signature or checksum is wrong",
                offset,
                layout.HEADER_SPEC,
                "it is written again from the other one",
            )
    if current.log_id.int:
        yield from _check_log(file, current)
    yield from _check_regions(file)
    try:
        disk = Vhdx(file, None)
    except DiskError as error:
        yield broken(error)
        return
    yield from _check_blocks(disk)


def _check_log(file: ImageFile, header: Header) -> Iterator[Problem]:
    try:
        replay(file, header)
    except DiskError as error:
        yield broken(error)
        return
    yield Problem(
        "the log is not empty: the disk was not closed properly",
        header.at + 48,
        "[MS-VHDX] 2.3",
        "the log is replayed into the file",
    )


def _check_regions(file: ImageFile) -> Iterator[Problem]:
    tables = [file.read(at, layout.REGION_SIZE) for at in layout.REGION_OFFSETS]
    good = [_is_region_table(table) for table in tables]
    for index, at in enumerate(layout.REGION_OFFSETS):
        if not good[index] and any(good):
            mend = "it is written again from the other one"
            yield Problem("the region table's signature or checksum is wrong", at, layout.REGION_SPEC, mend)
    if all(good) and tables[0] != tables[1]:
        yield Problem("the two region tables differ", layout.REGION_OFFSETS[1], layout.REGION_SPEC)


def _is_region_table(data: bytes) -> bool:
    return data[:4] == b"regi" and int.from_bytes(data[4:8], "little") == layout.checksum(data)


def _check_blocks(disk: Vhdx) -> Iterator[Problem]:
    """Every block inside of the file, and none over another or over a region."""
    positions = array("Q")
    try:
        for _, position in disk.allocated():
            if position != ZERO:
                positions.append(position)
    except DiskError as error:
        yield broken(error)
        return
    taken = [(at, at + disk.block_size, "a block") for at in sorted(positions)]
    for region, name in ((disk.bat_region, "the BAT"), (disk.metadata_region, "the metadata region")):
        taken.append((region.offset, region.offset + region.length, name))
    taken.append((0, MIB, "the header section"))
    yield from overlaps(taken, layout.BAT_SPEC)


def repair_vhdx(file: ImageFile, fd: int) -> None:
    """Mend `fd`, a whole copy of `file`: the log replayed, headers and region tables whole.

    The headers are written one after the other, so that one is valid at any moment. Raises DiskError.
    """
    header = max(read_headers(file), key=lambda one: one.sequence_number)
    if header.log_id.int:
        replayed = replay(file, header)
        _write_patches(replayed, fd)
        file = replayed
    tables = [file.read(at, layout.REGION_SIZE) for at in layout.REGION_OFFSETS]
    good = next(filter(_is_region_table, tables), None)
    for at in layout.REGION_OFFSETS:
        if good is not None:
            write_at(fd, good, at)
    os.fsync(fd)
    other = sum(layout.HEADER_OFFSETS) - header.at
    for number, at in enumerate((other, header.at), 1):
        write_at(fd, _clean_header(file, header, number), at)
        os.fsync(fd)


def _write_patches(file: ReplayedFile, fd: int) -> None:
    """Write the log's changes to `fd`. What `file` has no bytes for is a hole in `fd` already."""
    os.ftruncate(fd, file.size)
    for patch in file.patches:
        end = min(patch.end, file.size)
        if patch.log_offset is not None and patch.start < end:
            write_at(fd, file.content(patch), patch.start)
        elif patch.log_offset is None:
            for low, high in file.real.extents(patch.start, end):
                for start in range(low, high, MIB):
                    write_at(fd, bytes(min(MIB, high - start)), start)


def _clean_header(file: ImageFile, header: Header, step: int) -> bytes:
    """The header with an empty log, `step` sequence numbers later; behind the last one they begin anew."""
    data = bytearray(file.read(header.at, 4 * KIB))
    before = header.sequence_number if header.sequence_number < LAST_SEQUENCE_NUMBER else 0
    struct.pack_into("<Q", data, 8, before + step)
    data[48:64] = UUID(int=0).bytes_le
    struct.pack_into("<I", data, 4, layout.checksum(bytes(data)))
    return bytes(data)
