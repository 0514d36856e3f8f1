"""A guest in memory: its files as a mapping, and the facts of a disk that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from tests.unit.guest import trees
from tests.unit.guest.trees import signed_loader
from tests.unit.guest.windows_guests import SIGNATURE, WindowsGuests
from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, Partition, PartitionTable
from vmstamp.errors import GuestError
from vmstamp.extents import Extent
from vmstamp.guest.facts import Boot, Facts, gather_guest
from vmstamp.guest.files.fs import Content, Files, Survey
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.files.volume import Kind, Node

MIB = 1024 * 1024
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
ROOT_UUID = "6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a"
RELEASE = "6.1.0-42-cloud-amd64"

# A value that begins with this makes a symbolic link to the rest.
LINK = "-> "


@dataclass(frozen=True)
class MemoryNode:
    name: str
    kind: Kind
    content: bytes = b""
    link: str = ""
    children: dict[str, MemoryNode] = field(default_factory=dict)
    mode: int = 0o644

    @property
    def size(self) -> int:
        return len(self.content)

    def child(self, name: str) -> Node | None:
        return self.children.get(name)

    def names(self) -> list[str]:
        return list(self.children)

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def target(self) -> str:
        return self.link


@dataclass(frozen=True)
class DamagedNode(MemoryNode):
    """A directory that cannot be listed."""

    def names(self) -> list[str]:
        raise GuestError("the file system is damaged")


@dataclass(frozen=True)
class MemoryTree:
    root: Node


class EmptyDisk(Disk):
    """A disk of zeros in no file."""

    def __init__(self, size: int = 2048 * MIB, format: str = "vhd", subformat: str = "fixed") -> None:
        self.size = size
        self.format = format
        self.subformat = subformat

    def _read(self, offset: int, length: int) -> bytes:
        return bytes(length)

    def extents(self) -> Iterator[Extent]:
        yield from ()

    def close(self) -> None: ...


class BytesDisk(EmptyDisk):
    """A raw disk with bytes at some offsets, zeros elsewhere."""

    def __init__(self, size: int, parts: Mapping[int, bytes]) -> None:
        super().__init__(size, "raw", "")
        self._parts = parts

    def _read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        for start, part in self._parts.items():
            low, high = max(start, offset), min(start + len(part), offset + length)
            if low < high:
                data[low - offset : high - offset] = part[low - start : high - start]
        return bytes(data)


def memory_files(contents: Mapping[str, str | bytes]) -> Files:
    """Files of the mapping path -> content; a path that ends in / is an empty directory."""
    root = MemoryNode("/", Kind.DIRECTORY)
    for path, content in contents.items():
        *parents, name = path.strip("/").split("/")
        node = root
        for parent in parents:
            node = node.children.setdefault(parent, MemoryNode(parent, Kind.DIRECTORY))
        if path.endswith("/"):
            node.children[name] = MemoryNode(name, Kind.DIRECTORY)
        elif isinstance(content, str) and content.startswith(LINK):
            node.children[name] = MemoryNode(name, Kind.SYMLINK, link=content[len(LINK) :])
        else:
            data = content.encode() if isinstance(content, str) else content
            node.children[name] = MemoryNode(name, Kind.FILE, data)
    return Files({"/": MemoryTree(root)})


def cpio_archive(*names: str, contents: Mapping[str, bytes] | None = None) -> bytes:
    """A newc archive of `contents`, and of files whose content is their name's length in x."""
    entries = b""
    given = dict(contents or {})
    for name in (*given, *names, "TRAILER!!!"):
        raw = name.encode() + b"\0"
        content = given.get(name, b"x" * (0 if name == "TRAILER!!!" else len(raw)))
        fields = (1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + raw, content):
            entries += part + bytes(-len(part) % 4)
    return entries


ELF_X86_64 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00"

# A guest in which every check passes: Debian's layout with cloud-init and WALinuxAgent.
GOOD: dict[str, str | bytes] = {
    **trees.COMMON,
    **trees.NETWORKD,
    **trees.KVP,
    "/etc/os-release": LINK + "../usr/lib/os-release",
    "/usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "/usr/bin/sh": ELF_X86_64,
    "/etc/fstab": f"UUID={ROOT_UUID} / ext4 defaults 0 1\nUUID=ABCD-1234 /boot/efi vfat umask=0077 0 1\n",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/false\n",
    "/etc/shadow": "root:*:19000:0:99999:7:::\n",
    "/etc/machine-id": "",
    "/etc/hostname": "localhost\n",
    f"/boot/vmlinuz-{RELEASE}": "MZ",
    f"/boot/initrd.img-{RELEASE}": cpio_archive(
        *("init", "lib/hv_vmbus.ko", "lib/hv-storvsc.ko.xz", "lib/ext4.ko", "lib/nvme.ko"),
        *("lib/sd_mod.ko", "lib/scsi_mod.ko"),
    ),
    "/boot/grub/grub.cfg": "serial --speed=115200\nterminal_output console serial\n"
    f"menuentry 'Debian' {{\n\tlinux\t/boot/vmlinuz-{RELEASE} root=UUID={ROOT_UUID} "
    f"ro console=tty1 console=ttyS0,115200n8 earlyprintk=ttyS0 nvme_core.io_timeout=240\n"
    f"\tinitrd\t/boot/initrd.img-{RELEASE}\n}}\n",
    f"/usr/lib/modules/{RELEASE}/modules.builtin": "kernel/drivers/cdrom/cdrom.ko\n",
    f"/usr/lib/modules/{RELEASE}/modules.dep": "".join(
        f"kernel/drivers/{name}.ko:{' kernel/scsi_mod.ko' if name.startswith('scsi/') else ''}\n"
        for name in (
            *(
                "scsi/sd_mod",
                "ata/ata_piix",
                "hv/hv_vmbus",
                "scsi/hv_storvsc",
                "net/hv_netvsc",
                "hv/hv_utils",
                "input/hyperv-keyboard",
            ),
            *("fs/udf", "fs/isofs", "scsi/sr_mod", "fs/ext4", "fs/vfat", "fs/xfs", "ptp/ptp", "nvme/nvme"),
            *("pci/pci-hyperv", "net/mlx4_en", "net/mlx5_core", "net/mana"),
        )
    ),
    "/usr/sbin/update-initramfs": "#!/bin/sh\n",
    "/etc/initramfs-tools/initramfs.conf": "MODULES=most\n",
    "/etc/initramfs-tools/modules": "# a comment\n",
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
    "/etc/default/grub.d/50-azure.cfg": 'GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0"\n',
    "/usr/bin/growpart": "#!/bin/sh\n",
    "/usr/sbin/sshd": "ELF",
    "/usr/lib/systemd/system/ssh.service": "[Service]\nExecStart=/usr/sbin/sshd -D\n",
    "/etc/systemd/system/multi-user.target.wants/ssh.service": LINK + "/lib/systemd/system/ssh.service",
    "/lib": LINK + "usr/lib",
    "/usr/lib/systemd/system/cloud-init-local.service": "",
    "/usr/lib/systemd/system-generators/cloud-init-generator": "",
    "/usr/lib/python3/dist-packages/cloudinit/version.py": '__VERSION__ = "22.4.2"\n'
    '_PACKAGED_VERSION = "@@PACKAGED_VERSION@@"\n',
    "/etc/cloud/cloud.cfg": "users:\n - default\n",
    "/etc/cloud/cloud.cfg.d/90_dpkg.cfg": "datasource_list: [ Azure ]\n",
    "/usr/sbin/waagent": "#!/usr/bin/python3\n",
    "/etc/waagent.conf": "Provisioning.Agent=cloud-init # who\nProvisioning.RegenerateSshHostKeyPair=y\n",
    "/usr/lib/systemd/system/walinuxagent.service": "",
    "/etc/systemd/system/multi-user.target.wants/walinuxagent.service": LINK
    + "/lib/systemd/system/walinuxagent.service",
    "/usr/lib/python3/dist-packages/azurelinuxagent/common/version.py": "AGENT_VERSION = '2.7.3.0'\n",
}


def memory_facts(contents: Mapping[str, str | bytes], disk: Disk | None = None) -> Facts:
    """The facts of a Gen2 disk (GPT: ESP, root) whose root holds `contents`."""
    esp = Partition(1, MIB, 64 * MIB, EFI_SYSTEM, None, "ESP", UUID(int=1))
    root = Partition(2, 64 * MIB, 2047 * MIB, LINUX_FILE_SYSTEM, None, "root", UUID(int=2))
    files = memory_files(contents)
    contents_of_disk = (
        Content(esp, FileSystem("vfat", "ABCD-1234"), partition_uuid=str(UUID(int=1))),
        Content(root, FileSystem("ext4", ROOT_UUID, "root"), partition_uuid=str(UUID(int=2))),
    )
    survey = Survey(PartitionTable("gpt", (esp, root)), "", contents_of_disk, contents_of_disk[1], files)
    esp_files = memory_files({"/EFI/BOOT/BOOTX64.EFI": signed_loader()})
    boot = Boot(contents_of_disk[0], esp_files, ("/EFI/BOOT/BOOTX64.EFI",), bios=False)
    return gather_guest(Facts(disk or EmptyDisk(), survey, boot, files=files))


MakeFiles = Callable[[Mapping[str, str | bytes]], Files]


@pytest.fixture
def make_files() -> MakeFiles:
    return memory_files


@dataclass(frozen=True)
class Guests:
    """What the tests make guests with; `good` has everything right."""

    good: Mapping[str, str | bytes]
    root_uuid: str = ROOT_UUID
    link: str = LINK
    release: str = RELEASE

    def with_files(self, changes: Mapping[str, str | bytes | None]) -> dict[str, str | bytes]:
        """The good guest with files changed, added, or (None) left out."""
        merged = {**self.good, **{path: text for path, text in changes.items() if text is not None}}
        return {path: text for path, text in merged.items() if changes.get(path, text) is not None}

    def facts(self, changes: Mapping[str, str | bytes | None], disk: Disk | None = None) -> Facts:
        return memory_facts(self.with_files(changes), disk)

    def modules_without(self, *names: str) -> dict[str, str]:
        """A change: the good guest's kernel without these modules."""
        path = f"/usr/lib/modules/{RELEASE}/modules.dep"
        text = str(self.good[path])
        lines = (
            line for line in text.splitlines(keepends=True) if not any(f"/{n}.ko" in line for n in names)
        )
        return {path: "".join(lines)}

    def files(self, changes: Mapping[str, str | bytes | None]) -> Files:
        return memory_files(self.with_files(changes))

    def disk(self, size: int = 2048 * MIB, format: str = "vhd", subformat: str = "fixed") -> Disk:
        return EmptyDisk(size, format, subformat)

    def raw_disk(self, size: int, parts: Mapping[int, bytes]) -> Disk:
        return BytesDisk(size, parts)

    def tree(self, contents: Mapping[str, str | bytes]) -> Files:
        return memory_files(contents)

    def loader(self, **changed: Any) -> bytes:
        return signed_loader(**changed)

    def cpio(self, *names: str) -> bytes:
        return cpio_archive(*names)

    def cpio_of(self, contents: Mapping[str, bytes], *names: str) -> bytes:
        return cpio_archive(*names, contents=contents)

    def node(self, content: bytes) -> Node:
        return MemoryNode("initrd.img", Kind.FILE, content)

    def damaged(self, path: str) -> Facts:
        """The good guest whose directory `path` cannot be listed."""
        facts = memory_facts(self.good)
        *parents, name = path.strip("/").split("/")
        node = facts.guest.find("/" + "/".join(parents))
        assert isinstance(node, MemoryNode)
        node.children[name] = DamagedNode(name, Kind.DIRECTORY)
        return facts

    def with_root(self, facts: Facts, **changes: str) -> Facts:
        """The facts with the root's FileSystem changed, e.g. dirty=..."""
        esp, root = facts.survey.contents
        assert root.file_system is not None
        root = replace(root, file_system=replace(root.file_system, **changes))
        return replace(facts, survey=replace(facts.survey, contents=(esp, root), root=root))


@pytest.fixture
def guests() -> Guests:
    return Guests(GOOD)


class SignedDisk(EmptyDisk):
    """A disk of zeros but for an MBR's disk signature."""

    def _read(self, offset: int, length: int) -> bytes:
        return SIGNATURE.to_bytes(4, "little") if (offset, length) == (440, 4) else bytes(length)


@pytest.fixture
def windows() -> WindowsGuests:
    return WindowsGuests(memory_files, SignedDisk)
