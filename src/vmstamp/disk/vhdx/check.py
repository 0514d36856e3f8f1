"""Is a VHDX file as [MS-VHDX] wants it, and what of it can be put right?"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from uuid import UUID

from vmstamp.disk.file import ImageFile, write_at
from vmstamp.disk.problem import Problem, broken
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.check_bat import Named, check_bat
from vmstamp.disk.vhdx.layout import KIB, MIB
from vmstamp.disk.vhdx.log import ReplayedFile
from vmstamp.disk.vhdx.reader import Header, Region, Vhdx, read_headers, replay
from vmstamp.errors import DiskError

LAST_SEQUENCE_NUMBER = 2**64 - 3  # that has two behind it


def check_vhdx(file: ImageFile) -> Iterator[Problem]:
    """What is wrong, most basic first. Parents are not looked at; 16 MiB of memory at most."""
    try:
        headers = read_headers(file)
    except DiskError as error:
        yield broken(error)
        return
    current = max(headers, key=lambda header: header.sequence_number)
    if len({one.sequence_number for one in headers}) < len(headers):
        what = "both headers have the same sequence number"
        yield Problem(what, layout.HEADER_OFFSETS[1] + 8, layout.HEADER_SPEC, "they are numbered anew")
    for offset in layout.HEADER_OFFSETS:
        if all(header.at != offset for header in headers):
            yield Problem(
                "the header's signature or checksum is wrong",
                offset,
                layout.HEADER_SPEC,
                "it is written again from the other one",
            )
    misplaced = list(_check_log_place(file, current))
    yield from misplaced
    if current.log_id.int and not misplaced:
        yield from _check_log(file, current)
    try:
        disk = Vhdx(file, None)
    except DiskError as error:
        yield from _check_regions(file)
        yield broken(error)
        return
    yield from _check_regions(disk.file)
    places = _places(disk, current)
    yield from check_bat(disk.file, disk.bat_region, disk.parameters, places[: 3 if misplaced else None])


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


def _places(disk: Vhdx, header: Header) -> list[Named]:
    """What has a place in the file besides blocks."""
    places = [
        ("the header section", Region(0, MIB)),
        ("the BAT", disk.bat_region),
        ("the metadata region", disk.metadata_region),
    ]
    return places + ([("the log", Region(header.log_offset, header.log_length))] if header.log_length else [])


def _check_log_place(file: ImageFile, header: Header) -> Iterator[Problem]:
    offset, length = header.log_offset, header.log_length
    if offset % MIB or length % MIB or (length and (offset < MIB or offset + length > file.size)):
        what = f"the log of {length} bytes at {offset} is not inside the file in whole MiB"
        yield Problem(what, header.at + 68, layout.HEADER_SPEC)


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
