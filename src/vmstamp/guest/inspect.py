"""What a disk is, what runs on it, and what of it would fail on Azure: read, not booted.

What a look at files cannot tell is not claimed: whether the guest really comes up. `vmstamp try` proves that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import PartitionTable
from vmstamp.errors import GuestError
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.facts import Facts, gather
from vmstamp.guest.files.fs import Content
from vmstamp.guest.files.probe import OPAQUE
from vmstamp.guest.finding import Finding, Status, judge
from vmstamp.guest.provisioning.agents import CloudInit, WaAgent
from vmstamp.guest.sshd import has_ssh_server
from vmstamp.guest.system import OperatingSystem


@dataclass(frozen=True)
class Sizes:
    """Bytes: what the guest sees, the file's length, and what of the file is allocated (None: no file)."""

    virtual: int
    file: int | None
    allocated: int | None


@dataclass(frozen=True)
class PartitionReport:
    """A partition [start, end) in bytes; `type` a GUID or `0x..`; `content` the kind of its file system.

    `note` says why the file system was not read, or that it is dirty; '' otherwise.
    """

    number: int
    start: int
    end: int
    type: str
    name: str
    content: str
    uuid: str
    label: str
    note: str

    def describe(self) -> str:
        return f"{self.content} ({self.note})" if self.note else self.content


@dataclass(frozen=True)
class Report:
    """What `inspect` found; see the fields' own types.

    `table` is 'gpt', 'mbr' or None. `generations` are those of VM that can boot the disk. `root` is the
    number of the partition with the operating system (0: the whole disk). `os` is None when no operating
    system was found that this version reads. `provisioner` is 'cloud-init', 'waagent' or ''.
    """

    path: str | None
    format: str
    subformat: str
    sizes: Sizes
    table: str | None
    partitions: tuple[PartitionReport, ...]
    generations: tuple[int, ...]
    root: int | None
    os: OperatingSystem | None
    architecture: str | None
    kernels: tuple[str, ...]
    command_line: str
    cloud_init: CloudInit | None
    waagent: WaAgent | None
    provisioner: str
    ssh_server: bool
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that say fail."""
        return tuple(finding for finding in self.findings if finding.status is Status.FAIL)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; the keys are the fields' names and stay."""
        return asdict(self)


def inspect(disk: Disk) -> Report:
    """Look at a disk and the guest on it. Reads a few MiB; neither root nor a boot is needed.

    Raises DiskError when the file cannot be read and GuestError when the guest's root file system is damaged.
    A disk with no operating system is no error: `os` is None and a finding says so.
    """
    facts = gather(disk)
    table = facts.survey.table
    return Report(
        path=str(disk.path) if disk.path else None,
        format=disk.format,
        subformat=disk.subformat,
        sizes=_sizes(disk),
        table=table.scheme if table else None,
        partitions=_partitions(facts),
        generations=_generations(facts),
        root=facts.survey.root.number if facts.survey.root else None,
        os=facts.os,
        architecture=facts.architecture,
        kernels=facts.kernels,
        command_line=facts.entries[0].command_line.text if facts.entries else "",
        cloud_init=facts.cloud_init,
        waagent=facts.waagent,
        provisioner=facts.provisioner,
        ssh_server=facts.files is not None and has_ssh_server(facts.files),
        notes=(
            *disk.notes,
            *_table_notes(table),
            *(f"not read: {source} on {target}" for source, target in facts.survey.unmounted),
        ),
        findings=tuple(judge(check, facts) for check in CHECKS),
    )


def require_bootable(report: Report) -> None:
    """Raise GuestError when no VM can boot the disk, or it holds no operating system at all.

    A disk whose root file system this version does not read is let through if a firmware would start it.
    """
    where = report.path or "the disk"
    if report.os is None and not report.generations:
        seen = ", ".join(p.describe() for p in report.partitions if p.content) or "nothing known"
        raise GuestError(
            f"{where}: no operating system found; it holds: {seen}",
            hint="is this a data disk? A VM is made from a disk with an operating system on it",
        )
    if not report.generations:
        assert report.os is not None
        raise GuestError(
            f"{where}: {report.os.pretty_name} is on it, but neither BIOS nor UEFI finds a boot loader",
            hint="install GRUB for UEFI with --removable (Gen2), or to the disk (Gen1)",
        )


def _sizes(disk: Disk) -> Sizes:
    if disk.path is None:
        return Sizes(disk.size, None, None)
    status = disk.path.stat()
    return Sizes(disk.size, status.st_size, status.st_blocks * 512)


def _generations(facts: Facts) -> tuple[int, ...]:
    """What the firmware finds, if there is, or may be, an operating system to start."""
    kinds = [content.file_system.kind for content in facts.survey.contents if content.file_system]
    maybe = facts.os is not None or any(kind in OPAQUE for kind in kinds)
    return facts.boot.generations if maybe else ()


def _table_notes(table: PartitionTable | None) -> tuple[str, ...]:
    return table.notes if table else ()


def _partitions(facts: Facts) -> tuple[PartitionReport, ...]:
    return tuple(_partition(content, facts.disk.size) for content in facts.survey.contents)


def _partition(content: Content, disk_size: int) -> PartitionReport:
    part, found = content.partition, content.file_system
    kind = ""
    if part is not None:
        kind = str(part.type_guid) if part.type_guid else f"{part.type_byte or 0:#04x}"
    return PartitionReport(
        number=content.number,
        start=part.start if part else 0,
        end=part.end if part else disk_size,
        type=kind,
        name=_partition_name(content),
        content=found.kind if found else "",
        uuid=found.uuid if found else "",
        label=found.label if found else "",
        note=content.note,
    )


def _partition_name(content: Content) -> str:
    if content.logical is not None:
        return f"{content.logical.group}/{content.logical.name}"
    return content.partition.name if content.partition else ""
