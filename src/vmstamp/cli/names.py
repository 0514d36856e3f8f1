"""Names that nobody has to type: derived, always the same, and pure.

A VM `web` gets `web-nic`, `web-ip` and `web-nsg`; a subscription gets one storage account; the VHDs
of a captured image are `<image>-os-YYYY-MM-DD.vhd` and `<image>-datadisk-<lun>-YYYY-MM-DD.vhd`, with `-ZZ`
(a number) before `.vhd` on collision only, as the classic VM Image capture named them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from vmstamp.errors import VmstampError

CONTAINER = "vhds"
DISK = "disk:"  # before the name of a managed disk, where a command takes blobs and files too
VNET = "vmstamp-vnet"
SUBNET = "default"
VNET_PREFIX = "10.0.0.0/16"
SUBNET_PREFIX = "10.0.0.0/24"
TAR = re.compile(r"\.(tar(\.(gz|xz|zst|bz2))?|tgz|txz)$", re.IGNORECASE)
COMPRESSED = re.compile(r"\.(gz|xz|zst|bz2)$", re.IGNORECASE)


@dataclass(frozen=True)
class VmNames:
    """The names of what is made along with a VM."""

    nic: str
    address: str
    security_group: str


def vm_names(vm: str) -> VmNames:
    return VmNames(f"{vm}-nic", f"{vm}-ip", f"{vm}-nsg")


def account_name(subscription: str) -> str:
    """The default storage account of a subscription: `vmstamp` and the first 8 hex digits of its id."""
    return "vmstamp" + subscription.replace("-", "").lower()[:8]


def computer_name(vm: str) -> str:
    """A host name for a VM: Linux host names have at most 63 letters, digits and hyphens."""
    return re.sub(r"[^a-zA-Z0-9-]+", "-", vm).strip("-.")[:63] or "vm"


def blob_name(file_name: str, end: str = ".vhd") -> str:
    """The blob name of an uploaded disk file: its stem and `end`; Azure wants `.vhd` there.

    What says that it is packed goes too: `web.qcow2.xz` and `web.tar.gz` become `web.vhd`.
    """
    stem = TAR.sub("", file_name)
    if stem == file_name:
        stem = COMPRESSED.sub("", file_name)
        stem = stem.rsplit(".", 1)[0] if "." in stem.lstrip(".") else stem
    return f"{stem}{end}"


def captured_vhd_name(image: str, lun: int | None, day: date, taken: Collection[str]) -> str:
    """The VHD name of a captured disk; `lun` None is the OS disk. `taken` are the names in the container.

    The first free one of NAME.vhd, NAME-1.vhd, NAME-2.vhd, ...
    """
    role = "os" if lun is None else f"datadisk-{lun}"
    base = f"{image}-{role}-{day.isoformat()}"
    name, number = f"{base}.vhd", 0
    while name in taken:
        number += 1
        name = f"{base}-{number}.vhd"
    return name


# ARM: Microsoft.Compute resource names; a Linux VM's name is its default host name, hence the 64.
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
LONGEST = {"disk": 80, "image": 80, "VM": 64}


def check_name(kind: str, name: str) -> str:
    """The name of a disk, image or VM, if Azure takes it. VmstampError else: before an upload, not after."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST[kind]:
        raise VmstampError(
            f"{name!r} is not a name that Azure takes for {'an' if kind == 'image' else 'a'} {kind}",
            hint=f"1 to {LONGEST[kind]} letters, digits, '_', '.' and '-', beginning with a letter, digit "
            "or '_' and not ending in '.' or '-'",
        )
    return name


# REST: Naming and Referencing Containers, Blobs, and Metadata; the three with $ are the service's own.
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web|\$logs")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
LONGEST_BLOB, LONGEST_CONTAINER = 1024, 63


def parse_blob_name(wanted: str) -> tuple[str, str]:
    """The container and the blob of `CONTAINER/BLOB` or a name in the container `vhds`.

    VmstampError for names that Azure does not take: before anything is made for them.
    """
    if wanted.startswith(("/", "./", "../", "~")):
        raise VmstampError(
            f"{wanted}: a path on this computer, where a blob is to be named",
            hint="vmstamp upload FILE brings a file to a blob, vmstamp download BLOB FILE brings it back",
        )
    container, mark, name = wanted.partition("/")
    if not mark:
        container, name = CONTAINER, wanted
    if not _CONTAINER.fullmatch(container) or len(container) > LONGEST_CONTAINER:
        raise VmstampError(
            f"{wanted}: {container!r} is not a name that Azure takes for a container",
            hint="3 to 63 lower-case letters, digits and single hyphens, with a letter or digit at both ends",
        )
    if not name or len(name) > LONGEST_BLOB:
        raise VmstampError(
            f"{wanted[:80]}: a blob's name has {len(name)} characters, expected 1 to {LONGEST_BLOB}",
            hint="name it as CONTAINER/BLOB, or BLOB in the container vhds",
        )
    return container, name


def check_account(name: str) -> str:
    """The name of a storage account, if Azure takes it. Raises VmstampError."""
    if not _ACCOUNT.fullmatch(name):
        raise VmstampError(
            f"{name!r} is not a name that Azure takes for a storage account",
            hint="3 to 24 lower-case letters and digits",
        )
    return name
