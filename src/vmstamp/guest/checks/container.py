"""Checks of the disk file itself, as Azure takes it."""

from __future__ import annotations

from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed

MIB = 1024 * 1024
TIB = 1024**4
MINIMUM = 20 * MIB  # bytes of an OS disk
MAXIMUM_GEN1 = 2 * TIB  # what an MBR reaches
MAXIMUM_GEN2 = 4 * TIB

UPLOAD = "linux/disks-upload-vhd-to-managed-disk-cli.md"


def _kind(facts: Facts) -> Verdict:
    disk = facts.disk
    if disk.format == "vhd":
        return passed("a VHD")
    if disk.format == "raw":
        return failed("raw bytes without a VHD footer")
    return failed(f"{disk.format}: Azure takes fixed VHDs only")


def _fixed(facts: Facts) -> Verdict:
    disk = facts.disk
    if disk.subformat == "fixed":
        return passed("a fixed VHD")
    return failed(f"a {disk.subformat} VHD")


def _whole_mib(facts: Facts) -> Verdict:
    size = facts.disk.size
    if size % MIB:
        return failed(f"{size} bytes, {size % MIB} more than {size // MIB} MiB")
    return passed(f"{size // MIB} MiB")


def _minimum(facts: Facts) -> Verdict:
    size = facts.disk.size
    return passed(f"{size // MIB} MiB") if size >= MINIMUM else failed(f"{size} bytes, at least {MINIMUM}")


def _maximum(facts: Facts) -> Verdict:
    size = facts.disk.size
    limit = MAXIMUM_GEN1 if facts.boot.generations == (1,) else MAXIMUM_GEN2
    if size > limit:
        return failed(f"{size} bytes, at most {limit}")
    return passed(f"{size // MIB} MiB")


CHECKS = (
    Check(
        "vhd-container-kind",
        "the file is a VHD",
        Severity.UPLOAD,
        "Azure takes page blobs that are fixed VHDs; every other format is refused when a disk is made of it",
        f"azure-compute-docs {UPLOAD}",
        lambda facts: True,
        _kind,
        "`vmstamp upload` converts on the way, with no second file",
    ),
    Check(
        "vhd-fixed",
        "the VHD is fixed",
        Severity.UPLOAD,
        "dynamic and differencing VHDs are refused",
        "azure-compute-docs linux/create-upload-generic.md",
        lambda facts: facts.disk.format == "vhd",
        _fixed,
        "`vmstamp upload` converts on the way, with no second file",
    ),
    Check(
        "vhd-size-1mib",
        "the virtual size is a whole number of MiB",
        Severity.UPLOAD,
        "Azure refuses a VHD whose size is not aligned to 1 MiB",
        "azure-compute-docs linux/create-upload-generic.md",
        lambda facts: True,
        _whole_mib,
        "`vmstamp upload` pads with zeros to the next MiB",
    ),
    Check(
        "vhd-size-min",
        "the disk is large enough",
        Severity.UPLOAD,
        "an OS disk has at least 20 MiB",
        "azure-docs marketplace/azure-vm-certification-faq.yml",
        lambda facts: True,
        _minimum,
        "grow the disk",
    ),
    Check(
        "vhd-size-max",
        "the disk is not too large for an OS disk",
        Severity.UPLOAD,
        "an OS disk has at most 2 TiB (Gen1) or 4 TiB (Gen2)",
        "azure-compute-docs generation-2.md",
        lambda facts: True,
        _maximum,
        "shrink the file system, the partition and the disk",
    ),
)
