"""/etc/fstab and the kernel command line as records. Spec: fstab(5); Linux kernel-parameters.rst."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs", "9p")
DEVICE_KEYS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/")

# Names that the kernel gives in the order in which it finds disks: not the same on Azure.
KERNEL_NAME = re.compile(r"/dev/(sd[a-z]+|hd[a-z]|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+)(p?\d+)?$")


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
