"""The operating system in the guest's files: its name, architecture and kernels."""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.files.fs import OS_RELEASE, Files

# ELF e_machine (System V gABI) to the kernel's own name of the architecture.
_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0x03: "i686", 0x28: "arm", 0xF3: "riscv64", 0x15: "ppc64le"}
# Programs that every Linux has one of, to read the architecture from.
_PROGRAMS = ("/usr/bin/sh", "/bin/sh", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/sbin/init")


@dataclass(frozen=True)
class OperatingSystem:
    """Fields of os-release(5): `id` and `version_id` for machines, `pretty_name` for people."""

    id: str
    version_id: str
    pretty_name: str
    kind: str = "Linux"
    like: tuple[str, ...] = ()  # ID_LIKE

    def is_like(self, *families: str) -> bool:
        """Whether it is one of these distributions or made from one."""
        return any(name in families for name in (self.id, *self.like))


# os-release(5) ID to the family whose tools and paths it has.
_FAMILIES = {
    "debian": "debian", "ubuntu": "debian", "devuan": "debian", "kali": "debian", "linuxmint": "debian",
    "raspbian": "debian",
    "rhel": "rhel", "centos": "rhel", "almalinux": "rhel", "rocky": "rhel", "ol": "rhel", "fedora": "rhel",
    "scientific": "rhel", "eurolinux": "rhel", "amzn": "rhel",
    "sles": "suse", "sled": "suse", "sle-micro": "suse", "sles_sap": "suse", "opensuse": "suse",
    "azurelinux": "azurelinux", "mariner": "azurelinux",
}  # fmt: skip


def family(os: OperatingSystem) -> str:
    """debian, rhel (Fedora too), suse, azurelinux, or the ID itself."""
    return _FAMILIES.get(os.id) or ("suse" if os.id.startswith("opensuse") else os.id)


def is_older(version: str, other: str) -> bool:
    """Whether dotted versions are in this order: 2.9 before 2.10; what follows the numbers is ignored."""
    return _numbers(version) < _numbers(other)


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version.rpartition(":")[2].lstrip("v"))
    return tuple(int(part[:9]) for part in found[0].split(".")) if found else ()


def find_operating_system(files: Files) -> OperatingSystem | None:
    """What os-release says; None when there is no such file. Spec: os-release(5)."""
    for path in OS_RELEASE:
        text = files.find_text(path, 64 * 1024)
        if text is None:
            continue
        fields = dict(_assignments(text))
        identifier = fields.get("ID", "linux")
        name = fields.get("PRETTY_NAME") or fields.get("NAME") or identifier
        return OperatingSystem(
            identifier, fields.get("VERSION_ID", ""), name, like=tuple(fields.get("ID_LIKE", "").split())
        )
    return None


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """NAME=value lines as a shell reads them; what a shell would not read is left out."""
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key.startswith("#"):
            continue
        try:
            yield key, "".join(shlex.split(value))
        except ValueError:
            continue


def find_architecture(files: Files) -> str | None:
    """The machine of the guest's programs, as `uname -m` says it; None when no program is found."""
    for path in _PROGRAMS:
        head = files.read_part(path, 0, 20)
        if len(head) == 20 and head[:4] == b"\x7fELF":
            machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
            return _MACHINES.get(machine, f"ELF machine {machine:#x}")
    return None


def find_kernels(files: Files) -> tuple[str, ...]:
    """The releases of the kernels in /boot, by their file names, and of those only in /usr/lib/modules."""
    named = {name.removeprefix("vmlinuz-") for name in files.list("/boot") if name.startswith("vmlinuz-")}
    if not named:
        modules = "/usr/lib/modules"
        named = {name for name in files.list(modules) if files.is_file(f"{modules}/{name}/vmlinuz")}
    return tuple(sorted(named, key=version_key))


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """Orders 6.1.0-9 before 6.1.0-10: digits compare as numbers, before letters."""
    return tuple(
        (int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[^\d]+", version)
    )
