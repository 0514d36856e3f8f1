"""Checks of the disk file itself, as Azure takes it; the disk room judges, here it becomes findings."""

from __future__ import annotations

from collections.abc import Callable

from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import MIB
from vmstamp.disk.verdict import GIB, azure_findings
from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned

CONVERTED = "`vmstamp upload` converts on the way, with no second file"
FOOTER = "`vmstamp upload` writes a new footer"

LINUX_GIB = (1, 1023)  # Marketplace certification, "VHD size": what is taken of an OS disk


def always(facts: Facts) -> bool:
    return True


def is_vhd(facts: Facts) -> bool:
    return facts.disk.format == "vhd"


def is_gen1_only(facts: Facts) -> bool:
    return facts.generations == (1,)


def is_no_windows(facts: Facts) -> bool:
    """Of a Windows other sizes are taken."""
    return facts.os is None or facts.os.kind != "Windows"


def has_partitions(facts: Facts) -> bool:
    return facts.survey.table is not None and bool(facts.survey.table.partitions)


def mended_by_upload(disk: Disk) -> frozenset[str]:
    """The ids of what `vmstamp upload` puts right on the way; nothing of a disk that is a blob already."""
    if disk.uploaded:
        return frozenset()
    return frozenset(finding.id for finding in azure_findings(disk) if finding.on_upload)


def _judged(*ids: str) -> Callable[[Facts], Verdict]:
    """The disk room's verdict under these ids; UPLOAD and BOOT fail, the rest warns."""

    def run(facts: Facts) -> Verdict:
        for finding in azure_findings(facts.disk):
            if finding.id in ids:
                return (warned if finding.severity == "BEST" else failed)(finding.found)
        return passed(f"{facts.disk.subformat} {facts.disk.format}, {facts.disk.size} bytes".strip())

    return run


def _marketplace_size(facts: Facts) -> Verdict:
    (low, high), size = LINUX_GIB, facts.disk.data_size
    said = f"it has {size / GIB:.1f} GiB" if size >= GIB else f"it has {size // MIB} MiB"
    if low * GIB <= size <= high * GIB:
        return passed(said)
    return warned(f"{said}; the marketplace takes {low} to {high} GiB of a Linux")


def _first_mib(facts: Facts) -> Verdict:
    assert facts.survey.table is not None
    first = min(facts.survey.table.partitions, key=lambda part: part.start)
    if first.start < MIB:
        return warned(
            f"partition {first.number} starts at byte {first.start}", f"sector {first.start // 512}"
        )
    return passed(f"the first partition starts at byte {first.start}")


CHECKS = (
    Check(
        "vhd-container-kind",
        "the file is a VHD",
        Severity.UPLOAD,
        "Azure takes page blobs that are fixed VHDs; every other format is refused when a disk is made of it",
        sources.MANAGED,
        always,
        _judged("vhd-container-kind"),
        CONVERTED,
    ),
    Check(
        "vhd-fixed",
        "the VHD is fixed",
        Severity.UPLOAD,
        "dynamic and differencing VHDs are refused",
        sources.GENERIC,
        is_vhd,
        _judged("vhd-fixed"),
        CONVERTED,
    ),
    Check(
        "disk-snapshot-chain",
        "the disk is whole in itself",
        Severity.UPLOAD,
        "a file that holds only the changes to another disk is not a disk to Azure",
        sources.GENERIC,
        always,
        _judged("disk-snapshot-chain"),
        CONVERTED,
    ),
    Check(
        "vhd-footer-cookie",
        "the VHD's footer has 512 bytes",
        Severity.UPLOAD,
        "Azure looks for the footer in the last 512 bytes",
        sources.CERTIFICATION,
        is_vhd,
        _judged("vhd-footer-cookie"),
        FOOTER,
    ),
    Check(
        "vhd-footer-checksum",
        "the VHD's footer has the right checksum",
        Severity.UPLOAD,
        "a VHD whose footer is damaged is refused when a disk is made of it",
        "VHD 1.0, Hard Disk Footer Format",
        is_vhd,
        _judged("vhd-footer-checksum"),
        "download the blob as a raw disk and upload it again",
    ),
    Check(
        "vhd-size-consistent",
        "the VHD's footer says the size that it has",
        Severity.UPLOAD,
        "a VHD whose footer and length disagree is refused",
        sources.CERTIFICATION,
        is_vhd,
        _judged("vhd-size-consistent"),
        FOOTER,
    ),
    Check(
        "vhd-geometry",
        "the VHD's geometry is that of its size",
        Severity.BEST,
        "other readers go by the geometry and cut the disk short",
        "VHD 1.0, Appendix: CHS Calculation",
        is_vhd,
        _judged("vhd-geometry"),
        FOOTER,
    ),
    Check(
        "vhd-unique-id",
        "the VHD has a unique id and no saved state",
        Severity.BEST,
        "readers that tell disks by their id take two for one",
        "VHD 1.0, Hard Disk Footer Format",
        is_vhd,
        _judged("vhd-unique-id"),
        FOOTER,
    ),
    Check(
        "vhd-size-1mib",
        "the virtual size is a whole number of MiB",
        Severity.UPLOAD,
        "Azure refuses a VHD whose size is not aligned to 1 MiB",
        sources.GENERIC,
        always,
        _judged("vhd-size-1mib"),
        "`vmstamp upload` pads with zeros to the next MiB",
    ),
    Check(
        "vhd-size-min",
        "the disk is large enough",
        Severity.UPLOAD,
        "an OS disk has at least 20 MiB",
        sources.CERTIFICATION,
        always,
        _judged("vhd-size-min"),
        "grow the disk",
    ),
    Check(
        "vhd-size-max-gen1",
        "the disk is not too large for Gen1",
        Severity.UPLOAD,
        "an MBR reaches 2 TiB, so an OS disk of a Gen1 VM has at most that",
        sources.GENERATION,
        is_gen1_only,
        _judged("vhd-size-max-gen1", "vhd-size-max-gen2"),
        "shrink the disk, or make it boot by UEFI",
        generations=(1,),
    ),
    Check(
        "vhd-size-max-gen2",
        "the disk is not too large for an OS disk",
        Severity.UPLOAD,
        "an OS disk has at most 4 TiB",
        sources.GENERATION,
        always,
        _judged("vhd-size-max-gen2"),
        "shrink the file system, the partition and the disk",
    ),
    Check(
        "disk-sector-512",
        "the disk has sectors of 512 bytes",
        Severity.BOOT,
        "Azure's disks have sectors of 512 bytes; a table made for 4096 is not found",
        "vmstamp",
        always,
        _judged("disk-sector-512"),
        "install again on a disk with sectors of 512 bytes",
    ),
    Check(
        "vhd-size-marketplace",
        "the disk has a size that the marketplace takes",
        Severity.CERTIFICATION,
        "an OS disk of another size is not certified",
        sources.CERTIFICATION,
        is_no_windows,
        _marketplace_size,
        "vmstamp disk resize FILE SIZE, after the file systems were grown or shrunk",
    ),
    Check(
        "part-first-mib-free",
        "the first MiB of the disk is free",
        Severity.CERTIFICATION,
        "the marketplace wants the first 2048 sectors empty, and boot loaders put themselves there",
        sources.CERTIFICATION,
        has_partitions,
        _first_mib,
        "install again with the first partition at sector 2048",
    ),
)
