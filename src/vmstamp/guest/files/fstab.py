"""/etc/fstab and the kernel command line as records. Spec: fstab(5); Linux kernel-parameters.rst."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

NETWORK = ("nfs", "nfs4", "cifs", "smbfs", "smb3", "ceph", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "9p")
DEVICE_KEYS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/")

# Names that the kernel gives in the order in which it finds disks: not the same on Azure.
KERNEL_NAME = re.compile(r"/dev/(sd[a-z]+|hd[a-z]|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+)(p?\d+)?$")
# Names that udev makes of a disk's serial number or of where it is attached, but for those of what lies on
# the disk (LVM, MD) and of the Hyper-V bus.
HARDWARE_NAME = re.compile(
    r"/dev/disk/by-(?:id|path)/(?!dm-|lvm-|md-|acpi-VMBUS|acpi-MSFT1000)([^\s/]+?)(?:-part(\d{1,3}))?$"
)


def find_device(source: str) -> tuple[str, int] | None:
    """(disk, partition or 0) of a name that another machine gives to another disk, or to none.

    None for every other name: those by what lies on the disk, such as UUID=, and network sources.
    """
    match = KERNEL_NAME.match(source) or HARDWARE_NAME.match(source)
    return (match[1], int((match[2] or "0").lstrip("p"))) if match else None


@dataclass(frozen=True)
class Mount:
    """One line of fstab; `line` counts from 1."""

    line: int
    source: str
    target: str
    type: str
    options: tuple[str, ...]

    @property
    def is_device(self) -> bool:
        """The source is a block device, by whatever name."""
        return self.source.startswith(DEVICE_KEYS)

    @property
    def is_optional(self) -> bool:
        """Boot goes on when the device is absent."""
        return "nofail" in self.options or "noauto" in self.options


def parse_fstab(text: str) -> Iterator[Mount]:
    """The entries of an fstab; comments and lines of fewer than three fields are left out."""
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        source, target, kind = (_unescape(field) for field in fields[:3])
        options = tuple(fields[3].split(",")) if len(fields) > 3 else ()
        yield Mount(number, source.replace('"', ""), target, kind, options)


Fields = list[str]


def change_fstab(text: str, changes: Mapping[int, Callable[[Fields], Fields | None]]) -> str:
    """The text with the fields of some lines, counted from 1, changed; None makes the line a comment.

    The fields are as they stand in the file, escapes and all; the space between them stays.
    """
    lines = text.splitlines(keepends=True)
    for number, change in changes.items():
        line = lines[number - 1]
        parts = re.split(r"(\s+)", line.strip())
        fields = change(parts[::2])
        if fields is None:
            lines[number - 1] = f"# {line}"
            continue
        gaps = [*parts[1::2], *[" "] * len(fields)]
        body = "".join(field + gap for field, gap in zip(fields, gaps, strict=False))
        head = line[: len(line) - len(line.lstrip())]
        lines[number - 1] = head + body.rstrip() + line[len(line.rstrip()) :]
    return "".join(lines)


def with_source(source: str) -> Callable[[Fields], Fields]:
    return lambda fields: [source, *fields[1:]]


def with_options(*wanted: str) -> Callable[[Fields], Fields]:
    """Adds the options that are absent; an option of the same key stays as it is."""

    def change(fields: Fields) -> Fields:
        options = [one for one in (fields[3].split(",") if len(fields) > 3 else []) if one]
        keys = {option.partition("=")[0] for option in options}
        options += [option for option in wanted if option.partition("=")[0] not in keys]
        return [*fields[:3], ",".join(options), *fields[4:]]

    return change


def drop(fields: Fields) -> None:
    """For change_fstab: the line becomes a comment."""


def _unescape(field: str) -> str:
    r"""fstab's octal escapes, `\040` for a space."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda match: chr(int(match[1], 8)), field)


@dataclass(frozen=True)
class CommandLine:
    """A kernel command line, where it was read."""

    where: str
    text: str

    @property
    def words(self) -> list[str]:
        return self.text.split()

    def values(self, key: str) -> list[str]:
        """All values of `key=`, in order."""
        return [word[len(key) + 1 :] for word in self.words if word.startswith(f"{key}=")]
