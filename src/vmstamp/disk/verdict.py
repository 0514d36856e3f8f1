"""What of a disk file Azure would refuse, found before the first byte is sent.

It judges the file as it lies. `FixedVhd` puts right all that has severity UPLOAD and is not a limit, and
`vmstamp upload` sends that. What hinders reading (checksum, cut files, differencing disks) is a DiskError
at opening.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.fixed_vhd import MIB
from vmstamp.disk.footer import (
    FEATURES_RESERVED,
    FIXED,
    FOOTER_SIZE,
    FORMAT_VERSION,
    NO_DATA_OFFSET,
    Footer,
    Geometry,
    geometry,
    parse_footer,
)
from vmstamp.disk.vhd import FixedVhdFile
from vmstamp.errors import DiskError

GIB, TIB = 1024**3, 1024**4
MIN_SIZE = 20 * MIB  # Marketplace certification, "The VHD size is less than 20 MB"
MAX_GEN1 = 2 * TIB  # an MBR's reach
MAX_OS = 4 * TIB
MAX_DATA = 32 * TIB

# What qemu-img writes for force_size, to say: take the size field.
LARGEST = Geometry(65535, 16, 255)

Severity = Literal["UPLOAD", "BOOT", "BEST"]


@dataclass(frozen=True)
class AzureFinding:
    """`id` names the check, `found` says what is, `mend` what to do, `on_upload`: vmstamp does it itself."""

    id: str
    severity: Severity
    found: str
    mend: str
    on_upload: bool = False

    def __str__(self) -> str:
        return f"{self.found}; {self.mend}"


def azure_findings(disk: Disk) -> list[AzureFinding]:
    """What Azure would refuse or run badly of `disk`, gravest first; [] when it is right as it lies."""
    findings = [*_kind(disk), *_size(disk), *_sectors(disk)]
    if isinstance(disk, FixedVhdFile):
        findings += [*_footer(disk), *_habits(disk.footer)]
    elif disk.last_sector:
        findings += _last_sector(disk)
    return sorted(findings, key=lambda finding: ("UPLOAD", "BOOT", "BEST").index(finding.severity))


def _on_upload(id: str, found: str, mend: str) -> AzureFinding:
    return AzureFinding(id, "UPLOAD", found, mend, on_upload=True)


def _kind(disk: Disk) -> Iterator[AzureFinding]:
    convert = "vmstamp upload converts it on the way"
    if disk.format == "raw":
        yield _on_upload("vhd-container-kind", "it is a raw disk without a VHD footer", convert)
    elif disk.format != "vhd":
        yield _on_upload("vhd-container-kind", f"it is a {disk.format} disk; Azure takes fixed VHDs", convert)
    elif disk.subformat != "fixed":
        yield _on_upload("vhd-fixed", f"it is a {disk.subformat} VHD; Azure takes fixed VHDs", convert)
    if disk.subformat == "differencing" or disk.parent is not None:
        yield _on_upload("disk-snapshot-chain", "it holds only the changes to another disk", convert)


def _size(disk: Disk) -> Iterator[AzureFinding]:
    size = disk.data_size
    if size % MIB:
        more = -size % MIB
        yield _on_upload(
            "vhd-size-1mib",
            f"its size, {size} bytes, is not a whole number of MiB",
            f"vmstamp upload adds {more} zero bytes",
        )
    if size < MIN_SIZE:
        yield AzureFinding(
            "vhd-size-min", "UPLOAD", f"its size, {size} bytes, is less than 20 MiB", "make the disk larger"
        )
    if size > MAX_DATA:
        yield AzureFinding(
            "vhd-size-max-gen2", "UPLOAD", "it is larger than 32 TiB, Azure's largest disk", "shrink it"
        )
    elif size > MAX_OS:
        yield AzureFinding(
            "vhd-size-max-gen2", "UPLOAD", "it is larger than 4 TiB", "use it as a data disk, or shrink it"
        )
    elif size > MAX_GEN1:
        yield AzureFinding(
            "vhd-size-max-gen1",
            "UPLOAD",
            "it is larger than 2 TiB, too large for an OS disk of generation 1",
            "use generation 2, or shrink it",
        )


def _sectors(disk: Disk) -> Iterator[AzureFinding]:
    if disk.sector_size != SECTOR or (disk.size >= 4104 and _gpt_for_4096(disk)):
        yield AzureFinding(
            "disk-sector-512",
            "BOOT",
            "it was made for sectors of 4096 bytes; Azure has sectors of 512, its partitions are not found",
            "install it again on a disk with sectors of 512 bytes",
        )


def _gpt_for_4096(disk: Disk) -> bool:
    return disk.read(512, 8) != b"EFI PART" and disk.read(4096, 8) == b"EFI PART"


def _footer(disk: FixedVhdFile) -> Iterator[AzureFinding]:
    """What would make Azure refuse a fixed VHD. Spec: VHD 1.0, Hard Disk Footer Format."""
    footer, rewrite = disk.footer, "vmstamp upload writes a new footer"
    if disk.file_size - disk.footer_offset != FOOTER_SIZE:
        yield _on_upload("vhd-footer-cookie", "its footer has 511 bytes, 512 are expected", rewrite)
    if footer.data_offset != NO_DATA_OFFSET or footer.version != FORMAT_VERSION:
        yield _on_upload(
            "vhd-fixed", "its footer's data offset or version is not that of a fixed VHD", rewrite
        )
    if footer.current_size != disk.footer_offset:
        yield _on_upload(
            "vhd-size-consistent",
            f"its footer says {footer.current_size} bytes, but {disk.footer_offset} lie before it",
            rewrite,
        )


def _last_sector(disk: Disk) -> Iterator[AzureFinding]:
    """The footer of a page blob, which is read like a raw disk: nothing of it was judged at opening."""
    again = "download it as a raw disk and upload it again"
    try:
        footer = parse_footer(disk.last_sector, "blob", disk.size)
    except DiskError as error:
        yield AzureFinding("vhd-footer-checksum", "UPLOAD", error.found, again)
        return
    if footer.disk_type != FIXED:
        yield AzureFinding(
            "vhd-fixed", "UPLOAD", f"its footer says disk type {footer.disk_type}, not 2", again
        )
    if footer.current_size != disk.size:
        found = f"its footer says {footer.current_size} bytes, but {disk.size} lie before it"
        yield AzureFinding("vhd-size-consistent", "UPLOAD", found, again)
    yield from (replace(finding, mend=again, on_upload=False) for finding in _habits(footer))


def _habits(footer: Footer) -> Iterator[AzureFinding]:
    """What Azure takes but other readers stumble over."""
    rewrite = "vmstamp upload writes a new footer"
    right = geometry(footer.current_size)
    if footer.geometry not in (right, LARGEST):
        yield AzureFinding(
            "vhd-geometry", "BEST", f"its geometry is {footer.geometry}, not {right}", rewrite, True
        )
    if footer.original_size != footer.current_size:
        yield AzureFinding(
            "vhd-size-consistent", "BEST", f"its original size is {footer.original_size} bytes", rewrite, True
        )
    if not footer.features & FEATURES_RESERVED:
        yield AzureFinding(
            "vhd-fixed", "BEST", f"its features are {footer.features:#x}, not 2", rewrite, True
        )
    if not footer.unique_id.int or footer.saved_state:
        yield AzureFinding("vhd-unique-id", "BEST", "it has no unique id, or a saved state", rewrite, True)
