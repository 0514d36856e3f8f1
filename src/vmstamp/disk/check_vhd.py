"""Is a VHD file as its specification wants it, and what of it can be put right?"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator

from vmstamp.disk.base import SECTOR
from vmstamp.disk.file import ImageFile, write_at
from vmstamp.disk.footer import COOKIE, FIXED, FOOTER_SIZE, parse_footer
from vmstamp.disk.footer import SPEC as FOOTER_SPEC
from vmstamp.disk.problem import Problem, broken, overlaps
from vmstamp.disk.vhd import BAT_SPEC, DynamicVhdFile, find_footer, open_vhd
from vmstamp.errors import DiskError


def check_vhd(file: ImageFile) -> Iterator[Problem]:
    """What is wrong, most basic first. Parents are not looked at; memory by what is allocated."""
    try:
        footer, end, _ = find_footer(file)
    except DiskError as error:
        yield broken(error)
        return
    if footer.disk_type != FIXED:
        yield from _check_footers(file)
    elif file.size - end != FOOTER_SIZE:
        yield Problem("the footer has 511 bytes, not 512", end, FOOTER_SPEC, "the missing byte is added")
    try:
        disk = open_vhd(file, None)
    except DiskError as error:
        yield broken(error)
        return
    if isinstance(disk, DynamicVhdFile):
        yield from _check_blocks(disk)
    elif footer.current_size != end:
        yield Problem(
            f"the footer says {footer.current_size} bytes, but {end} lie before it", end + 48, FOOTER_SPEC
        )


def _check_footers(file: ImageFile) -> Iterator[Problem]:
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


def _check_blocks(disk: DynamicVhdFile) -> Iterator[Problem]:
    """Every block inside of the file, and none over another or over the structures."""
    positions = array("Q")
    try:
        for _, position in disk.allocated():
            positions.append(position)
    except DiskError as error:
        yield broken(error)
        return
    taken = [(at - disk.bitmap_size, at + disk.block_size, "a block") for at in sorted(positions)]
    taken.append((0, FOOTER_SIZE, "the copy of the footer"))
    taken.append((disk.footer.data_offset, disk.footer.data_offset + 1024, "the dynamic disk header"))
    taken.append((disk.table_offset, disk.table_offset + disk.block_count * 4, "the BAT"))
    yield from overlaps(taken, BAT_SPEC)


def repair_vhd(file: ImageFile, fd: int) -> None:
    """Mend `fd`, a whole copy of `file`: the footer and its copy, from the one of them that is good.

    Raises DiskError when none is.
    """
    footer, end, _ = find_footer(file)
    if footer.disk_type == FIXED:
        write_at(fd, file.read(end, file.size - end).ljust(FOOTER_SIZE, b"\0"), end)
        return
    last = file.read(file.size - FOOTER_SIZE, FOOTER_SIZE)
    if _is_footer(last, file, file.size - FOOTER_SIZE):
        write_at(fd, last, 0)
        return
    at = file.size - FOOTER_SIZE if last[:8] == COOKIE else -(-file.size // SECTOR) * SECTOR
    write_at(fd, file.read(0, FOOTER_SIZE), at)
    os.fsync(fd)
