"""Checks of the disk file itself, as Azure takes it; the disk room judges, here it becomes findings."""

from __future__ import annotations

from collections.abc import Callable

from vmstamp.disk.verdict import azure_findings
from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned

CONVERTED = "`vmstamp upload` converts on the way, with no second file"
FOOTER = "`vmstamp upload` writes a new footer"


def always(facts: Facts) -> bool:
    return True


def is_vhd(facts: Facts) -> bool:
    return facts.disk.format == "vhd"


def is_gen1_only(facts: Facts) -> bool:
    return facts.boot.generations == (1,)


def _judged(*ids: str) -> Callable[[Facts], Verdict]:
    """The disk room's verdict under these ids; UPLOAD and BOOT fail, the rest warns."""

    def run(facts: Facts) -> Verdict:
        for finding in azure_findings(facts.disk):
            if finding.id in ids:
                return (warned if finding.severity == "BEST" else failed)(finding.found)
        return passed(f"{facts.disk.subformat} {facts.disk.format}, {facts.disk.size} bytes".strip())

    return run


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
        _judged("vhd-fixed", "disk-snapshot-chain"),
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
        "the VHD's geometry and id are usual",
        Severity.BEST,
        "other readers go by the geometry and cut the disk short",
        "VHD 1.0, Appendix: CHS Calculation",
        is_vhd,
        _judged("vhd-geometry", "vhd-unique-id"),
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
)
