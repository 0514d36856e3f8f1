"""What a disk file says of itself, and what Azure says of it."""

from __future__ import annotations

import shlex
import stat
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vmstamp.disk.base import Disk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.verdict import AzureFinding, azure_findings
from vmstamp.disk.vhd import DynamicVhdFile, FixedVhdFile
from vmstamp.disk.vhdx import Vhdx


@dataclass(frozen=True)
class DiskInfo:
    """Sizes in bytes. `allocated` is what the file takes on its file system, `block_size` None where there is
    none, `parents` the chain from the nearest on. `creator` is the program that made it, as the file says.
    """

    path: Path
    format: str
    subformat: str
    virtual_size: int
    file_size: int
    allocated: int
    block_size: int | None
    sector_size: int
    unique_id: str | None
    creator: str | None
    created: datetime | None
    parents: tuple[Path, ...]
    notes: tuple[str, ...]
    findings: tuple[AzureFinding, ...]

    @property
    def accepted(self) -> bool:
        """Whether Azure takes the file as it lies."""
        return not any(finding.severity == "UPLOAD" for finding in self.findings)

    @property
    def mend(self) -> str:
        """The shell command that makes of it what Azure takes; '' when that is not needed, or not enough."""
        mendable = all(one.on_upload for one in self.findings if one.severity == "UPLOAD")
        if self.accepted or not mendable:
            return ""
        target = self.path.with_suffix(".vhd")
        target = target.with_stem(target.stem + "-azure") if target == self.path else target
        return shlex.join(["vmstamp", "disk", "convert", str(self.path), str(target)])

    def to_json(self) -> dict[str, Any]:
        """The document of `vmstamp disk info --json`."""
        document = asdict(self)
        findings = document.pop("findings")
        return {**document, "azure": {"ok": self.accepted, "mend": self.mend or None, "findings": findings}}


def describe(disk: Disk) -> DiskInfo:
    """What `disk`, which lies in a file, says of itself. Raises DiskError."""
    assert disk.path is not None
    file_size, allocated = _sizes(disk.path)
    unique_id, creator, created = _identity(disk)
    parents, parent = [], disk.parent
    while parent is not None and parent.path is not None:
        parents.append(parent.path)
        parent = parent.parent
    return DiskInfo(
        path=disk.path,
        format=disk.format,
        subformat=disk.subformat,
        virtual_size=disk.data_size,
        file_size=file_size,
        allocated=allocated,
        block_size=disk.block_size,
        sector_size=disk.sector_size,
        unique_id=unique_id,
        creator=creator,
        created=created,
        parents=tuple(parents),
        notes=disk.notes,
        findings=tuple(azure_findings(disk)),
    )


def _sizes(path: Path) -> tuple[int, int]:
    """The size of a file, and what it takes on its file system; a block device takes all of its size."""
    status = path.stat()
    if not stat.S_ISBLK(status.st_mode):
        return status.st_size, status.st_blocks * 512
    device = ImageFile(path)
    device.close()
    return device.size, device.size


def _identity(disk: Disk) -> tuple[str | None, str | None, datetime | None]:
    """Unique id, creator and time of creation."""
    if isinstance(disk, FixedVhdFile | DynamicVhdFile):
        footer = disk.footer
        creator = footer.creator_application.decode("latin-1").rstrip("\0 ")
        return str(footer.unique_id), creator or None, footer.created
    if isinstance(disk, Vhdx):
        return str(disk.unique_id), disk.creator or None, None
    return None, None, None
