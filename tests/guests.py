"""Small but real guests for tests: a tree of files, put on a disk with any file system that a guest may have.

    make_disk(tmp_path / "xfs.raw", "xfs")         GPT: ESP (FAT), /boot (ext4), root (XFS)
    make_disk(tmp_path / "btrfs.raw", "btrfs")     the root in the subvolume @, /home in @home
    make_disk(tmp_path / "lvm.raw", "lvm")         a root of two linear segments, /var in another volume
    make_windows(tmp_path / "windows.raw")         NTFS with a registry hive

No root is needed: a User Mode Linux runs `mkfs` and fills the disk (about 2 s each); `in_uml` does that for
any script. A program that is not installed makes it fail with the shell's words.
"""

from __future__ import annotations

import functools
import operator
import os
import shlex
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from tests import populate
from vmstamp.disk.partitions import EFI_SYSTEM, LINUX_FILE_SYSTEM, NewPartition, build_gpt
from vmstamp.guest.workshop import uml
from vmstamp.run import find_program, run

MIB = 1024 * 1024
MICROSOFT_BASIC_DATA = UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")

ESP_UUID = "ABCD-1234"
BOOT_UUID = "11111111-2222-4333-8444-555555555555"
ROOT_UUID = "66666666-7777-4888-9999-aaaaaaaaaaaa"
VAR_UUID = "bbbbbbbb-cccc-4ddd-8eee-ffffffffffff"

# The tree that every Linux guest here has; "-> " makes a link.
TREE: dict[str, str] = {
    "/usr/lib/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "/etc/os-release": "-> ../usr/lib/os-release",
    "/etc/hostname": "guest\n",
    "/etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/etc/shadow": "root:*:19000:0:99999:7:::\n",
    "/var/log/syslog": "a line\n",
    "/var/log/journal/0123/system.journal": "LPKSHHRH",
    "/boot/vmlinuz-6.1.0-1-amd64": "MZ",
    "/boot/efi/EFI/BOOT/BOOTX64.EFI": "MZ",
    "/home/user/.profile": "umask 022\n",
}
DIRECTORIES = ("proc", "sys", "dev", "run", "tmp", "root", "mnt")

ESP_LENGTH, BOOT_LENGTH = 40 * MIB, 64 * MIB
ROOT_START = MIB + ESP_LENGTH + BOOT_LENGTH
# mkfs of the root, and its size: XFS takes no less than 300 MiB, btrfs none under 109.
ROOTS = {
    "ext4": (128 * MIB, f"mkfs.ext4 -q -U {ROOT_UUID}"),
    "xfs": (320 * MIB, f"mkfs.xfs -q -m uuid={ROOT_UUID}"),
    "btrfs": (192 * MIB, f"mkfs.btrfs -q -U {ROOT_UUID}"),
    "lvm": (256 * MIB, f"mkfs.ext4 -q -U {ROOT_UUID}"),
}


def make_disk(
    path: Path, kind: str, files: Mapping[str, str | bytes] | None = None, *, script: str = ""
) -> Path:
    """A raw disk with a Linux guest whose root is `kind`, one of ROOTS; `files` are added to TREE.

    `script` is shell, run in the root directory when all is in place and mounted.
    """
    length, mkfs = ROOTS[kind]
    size = ROOT_START + length + 2 * MIB
    parts = [
        NewPartition(EFI_SYSTEM, "ESP", MIB, ESP_LENGTH, UUID(int=1)),
        NewPartition(LINUX_FILE_SYSTEM, "boot", MIB + ESP_LENGTH, BOOT_LENGTH, UUID(int=2)),
        NewPartition(LINUX_FILE_SYSTEM, "root", ROOT_START, length, UUID(int=3)),
    ]
    write_table(path, size, parts)
    tree = path.with_suffix(".tree")
    write_tree(tree, {**TREE, "/etc/fstab": fstab(kind), **(files or {})})
    try:
        in_uml(path, "\n".join([_make_root(kind, mkfs), _mount_others(), _fill(tree), script, _leave()]))
    finally:
        shutil.rmtree(tree)
    return path


def _make_root(kind: str, mkfs: str) -> str:
    if kind == "lvm":
        return f"""
            export LVM_SUPPRESS_FD_WARNINGS=1 DM_DISABLE_UDEV=1 LVM_SYSTEM_DIR=/run/lvm
            mkdir /run/lvm
            echo 'backup {{ backup=0 archive=0 }}' > /run/lvm/lvm.conf
            echo 'activation {{ udev_sync=0 udev_rules=0 }}' >> /run/lvm/lvm.conf
            lvm pvcreate -y /dev/ubda3
            lvm vgcreate vg /dev/ubda3
            lvm lvcreate -y -Zn -Wn -an -L 64M -n root vg
            lvm lvcreate -y -Zn -Wn -an -L 48M -n var vg
            lvm lvextend -L +64M vg/root
            lvm vgchange -ay vg
            {mkfs} /dev/vg/root
            mkfs.ext4 -q -U {VAR_UUID} /dev/vg/var
            mount /dev/vg/root /mnt
            mkdir /mnt/var && mount /dev/vg/var /mnt/var"""
    if kind == "btrfs":
        return f"""
            {mkfs} /dev/ubda3
            mount /dev/ubda3 /mnt
            btrfs -q subvolume create /mnt/@; btrfs -q subvolume create /mnt/@home
            umount /mnt
            mount -o subvol=@ /dev/ubda3 /mnt
            mkdir /mnt/home && mount -o subvol=@home /dev/ubda3 /mnt/home"""
    return f"{mkfs} /dev/ubda3\nmount /dev/ubda3 /mnt"


def _mount_others() -> str:
    return f"""
        mkfs.ext4 -q -U {BOOT_UUID} /dev/ubda2
        mkfs.vfat -i {ESP_UUID.replace("-", "")} -n ESP /dev/ubda1 > /dev/null
        mkdir /mnt/boot && mount /dev/ubda2 /mnt/boot
        mkdir /mnt/boot/efi && mount -t vfat /dev/ubda1 /mnt/boot/efi"""


def _fill(tree: Path) -> str:
    """vfat takes no owners, hence the copy without them."""
    copy = f"cp -r --preserve=mode,links {shlex.quote(str(tree))}/. /mnt"
    return f"{copy}\ncd /mnt\nmkdir -p {' '.join(DIRECTORIES)}"


def _leave() -> str:
    return "cd /; sync; umount -R /mnt; if [ -e /dev/vg ]; then dmsetup remove_all --noudevsync; fi"


def fstab(kind: str) -> str:
    lines = [
        f"UUID={BOOT_UUID} /boot ext4 defaults 0 2",
        f"UUID={ESP_UUID} /boot/efi vfat umask=0077 0 1",
    ]
    if kind == "lvm":
        lines = ["/dev/mapper/vg-root / ext4 defaults 0 1", *lines, "/dev/vg/var /var ext4 defaults 0 2"]
    elif kind == "btrfs":
        source = f"UUID={ROOT_UUID}"
        lines = [f"{source} / btrfs subvol=@ 0 0", *lines, f"{source} /home btrfs subvol=@home 0 0"]
    else:
        lines = [f"UUID={ROOT_UUID} / {kind} defaults 0 1", *lines]
    return "\n".join([*lines, ""])


def make_windows(path: Path, hives: Mapping[str, bytes]) -> Path:
    """A raw disk with one NTFS partition that holds the registry hives, by name, where Windows has them."""
    size = 64 * MIB
    part = NewPartition(MICROSOFT_BASIC_DATA, "Basic data partition", MIB, size - 3 * MIB, UUID(int=4))
    write_table(path, size, [part])
    tree = path.with_suffix(".tree")
    write_tree(tree, {f"/Windows/System32/config/{name}": data for name, data in hives.items()})
    script = f"""
        mkntfs -q -F -Q -L Windows /dev/ubda1
        ntfs-3g /dev/ubda1 /mnt
        cp -r {shlex.quote(str(tree))}/. /mnt
        sync; umount /mnt"""
    try:
        in_uml(path, script)
    finally:
        shutil.rmtree(tree)
    return path


def make_hive(path: Path) -> bytes:
    """A registry hive; ControlSet001\\Services\\Disk has TimeOutValue (DWORD 30), Name (SZ), Empty (SZ)."""
    script = """
        add ControlSet001
        cd ControlSet001
        add Services
        cd Services
        add Disk
        cd Disk
        setval 3
        TimeOutValue
        dword:0x0000001e
        Name
        string:disk
        Empty
        string:
        commit
        """
    path.write_bytes(minimal_hive())
    lines = "\n".join(line.strip() for line in script.strip().splitlines()) + "\n"
    run([find_program("hivexsh"), "-w", path], input=lines.encode())
    return path.read_bytes()


def write_table(path: Path, size: int, parts: list[NewPartition]) -> None:
    gpt = build_gpt(size, parts, UUID(int=9))
    with path.open("wb") as file:
        file.truncate(size)
        file.write(gpt.head)
        file.seek(gpt.tail_offset)
        file.write(gpt.tail)


def write_tree(directory: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = directory / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def shell_files() -> dict[str, bytes]:
    """This machine's /bin/sh and the libraries that it needs, for guests in which programs run."""
    shell = Path("/bin/sh").resolve()
    listed = run(["ldd", shell]).text
    libraries = [word for word in listed.split() if word.startswith("/")]
    return {"/bin/sh": shell.read_bytes()} | {name: Path(name).read_bytes() for name in libraries}


def in_uml(disk: Path, script: str, *, timeout: float = 120) -> None:
    """Run a shell script as root of a User Mode Linux: /dev/ubda is the disk, the host's files are read-only.

    /mnt and /run are empty and can be written. RuntimeError with the console's text when it fails.
    """
    data = script.encode()
    messages = os.memfd_create("script")
    fd = os.open(disk, os.O_RDWR)
    try:
        os.ftruncate(messages, populate.STATUS_AT + 4096)
        os.pwrite(messages, f"{len(data):016d}".encode() + data, 0)
        argv = uml.command(fd, messages, Path(populate.__file__))
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, pass_fds=(fd, messages)
        )
        if os.pread(messages, 16, populate.STATUS_AT) != b"0" * 16:
            raise RuntimeError((done.stdout + done.stderr).decode(errors="replace"))
    finally:
        os.close(messages)
        os.close(fd)


def minimal_hive() -> bytes:
    """A registry hive of one bin with nothing but its root key and that key's security record.

    Source: M. Suhanov, Windows registry file format specification
    """
    none = 0xFFFFFFFF
    root_at, security_at = 32, 32 + 88
    head = struct.pack("<4sII8xIIIIIII", b"regf", 1, 1, 1, 5, 0, 1, root_at, 4096, 1)
    head = head.ljust(508, b"\0")
    checksum = functools.reduce(operator.xor, struct.unpack("<127I", head))
    numbers = (none, 0, 0, none, none, 0, none, security_at, none, 0, 0, 0, 0, 0)
    key = struct.pack("<2sH8xI14IHH", b"nk", 0x2C, 0, *numbers, 4, 0) + b"ROOT"
    descriptor = struct.pack("<BBH4I", 1, 0, 0x8000, 0, 0, 0, 0)
    links = (security_at, security_at, 1, len(descriptor))
    security = struct.pack("<2sH4I", b"sk", 0, *links) + descriptor
    cells = _cell(key, 88) + _cell(security, 48)
    free = 4096 - 32 - len(cells)
    hbin = struct.pack("<4sII8x8xI", b"hbin", 0, 4096, 0) + cells + struct.pack("<i", free)
    return (head + struct.pack("<I", checksum)).ljust(4096, b"\0") + hbin.ljust(4096, b"\0")


def _cell(data: bytes, size: int) -> bytes:
    """An allocated cell: its negative size, then the record."""
    return (struct.pack("<i", -size) + data).ljust(size, b"\0")


if __name__ == "__main__":
    make_disk(Path(sys.argv[2]), sys.argv[1])
