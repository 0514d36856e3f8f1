"""The block devices and mounts inside User Mode Linux: places on the disk become devices, and are mounted.

A place is a list of segments in order, each [length, starts, stripe size] in bytes on the disk: one for a
partition, more for a logical volume; a striped segment has several starts. The disk's own partition table is
not asked: what is mounted is what was surveyed.
"""

from __future__ import annotations

import os
import time
from typing import Any

from vmstamp.guest.workshop.inside import kernel

DISK = "/dev/ubda"
FIRST_PIECE = 200  # no disk's own partition has such a number: a GPT holds 128
MODULES = "/usr/lib/uml/modules"
# What each kind needs beside what the kernel has built in, in order of loading.
NEEDED = {
    "vfat": ("fs/nls/nls_cp437", "fs/nls/nls_iso8859-1", "fs/fat/fat", "fs/fat/vfat"),
    "ntfs": ("fs/fuse/fuse",),
    "mapped": ("drivers/md/dm-mod",),
}
OPTIONS = {
    "ext2": "nodiscard",
    "ext3": "nodiscard",
    "ext4": "nodiscard",
    "vfat": "codepage=437,iocharset=iso8859-1,umask=0022,quiet",
}
FLAGS = kernel.MS_NOATIME | kernel.MS_NODEV | kernel.MS_NOSUID
NTFS_OPTIONS = "rw,noatime,nodev,nosuid,norecover"

Place = list[tuple[int, list[int], int]]


class Devices:
    """Block devices for places, each place once.

    They are named as on most machines, sda and its partitions: a guest's programs, such as grub-probe, know
    no others. `nodes` are their names and numbers, `uuids` the name of each by its file system's UUID.
    """

    def __init__(self) -> None:
        self._disk = os.open(DISK, os.O_RDONLY | os.O_CLOEXEC)
        self._found: dict[str, str] = {}
        self._pieces = FIRST_PIECE  # the number of the next partition that is none of the disk's own
        self.nodes: dict[str, int] = {}
        self.uuids: dict[str, str] = {}
        self._name("sda", os.fstat(self._disk).st_rdev)
        for entry in os.scandir(f"/sys/class/block/{os.path.basename(DISK)}"):
            number = entry.name.removeprefix("ubda")
            if number.isdigit():
                kernel.delete_partition(self._disk, int(number))

    def find(self, target: dict[str, Any]) -> str:
        """The device's path for a plan's target: its `place`, `uuid` and partition `number` (0: none)."""
        place, uuid = target["place"], target["uuid"]
        key = repr(place)
        if key not in self._found:
            self._found[key] = self._make(place, target["number"])
            self.uuids[uuid] = os.path.basename(self._found[key])
        return self._found[key]

    def _make(self, place: Place, number: int) -> str:
        """A partition for each piece of the disk, and over more than one a device that joins them.

        The joined device is not made over the disk itself: that would keep its partitions from being mounted.
        """
        targets = []
        for length, starts, stripe in place:
            size = length or os.lseek(self._disk, 0, os.SEEK_END)
            parts = [self._add(number, start, size // len(starts)) for start in starts]
            targets.append(mapped(size, parts, stripe))
        if len(targets) == 1 and targets[0][1] == "linear":
            return parts[0]
        load_modules("mapped")
        return f"/dev/dm-{kernel.map_device(f'volume{self._pieces}', targets)}"

    def _add(self, number: int, start: int, length: int) -> str:
        """The path of a new partition; with `number` 0 of a piece."""
        if not number:
            number, self._pieces = self._pieces, self._pieces + 1
        kernel.add_partition(self._disk, number, start, length)
        return self._name(f"sda{number}", os.stat(f"{DISK}{number}").st_rdev)

    def _name(self, name: str, device: int) -> str:
        os.mknod(f"/dev/{name}", 0o60600, device)
        self.nodes[name] = device
        return f"/dev/{name}"


def mapped(length: int, parts: list[str], stripe: int) -> tuple[int, str, str]:
    """The device-mapper target that joins `parts`: its sectors, type and words.

    Source: Linux Documentation/admin-guide/device-mapper/linear.rst, striped.rst
    """
    words = " ".join(f"{part} 0" for part in parts)
    if len(parts) == 1:
        return length // 512, "linear", words
    return length // 512, "striped", f"{len(parts)} {stripe // 512} {words}"


def load_modules(kind: str) -> None:
    directory = f"{MODULES}/{os.uname().release}/kernel"
    for name in NEEDED.get(kind, ()):
        kernel.load_module(f"{directory}/{name}.ko")


def mount(device: str, target: str, kind: str, options: str = "") -> None:
    """Mount `device` on the directory `target`."""
    load_modules(kind)
    if kind == "ntfs":
        mount_ntfs(device, target)
        return
    words = ",".join(word for word in (OPTIONS.get(kind, ""), options) if word)
    kernel.mount(device, target, kind, FLAGS, words)


def mount_ntfs(device: str, target: str) -> None:
    """By the host's ntfs-3g. It goes into the background once it has mounted."""
    argv = ["ntfs-3g", device, target, "-o", NTFS_OPTIONS]
    status, said = run_program(argv)
    if status:
        raise OSError(0, said.strip() or f"ntfs-3g ended with status {status}", device)


def run_program(argv: list[str]) -> tuple[int, str]:
    """Run one of the host's programs; its exit status and what it said."""
    out, write = os.pipe()
    child = os.posix_spawn(
        _find(argv[0]),
        argv,
        {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        file_actions=[(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, write, 2)],
    )
    os.close(write)
    parts = []
    _, status = os.waitpid(child, 0)
    os.set_blocking(out, False)  # a program that stays in the background holds the pipe open
    while True:
        try:
            part = os.read(out, 65536)
        except BlockingIOError:
            break
        if not part:
            break
        parts.append(part)
    os.close(out)
    return os.waitstatus_to_exitcode(status), b"".join(parts).decode(errors="replace")


def _find(name: str) -> str:
    for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin"):
        if os.path.exists(f"{directory}/{name}"):
            return f"{directory}/{name}"
    raise OSError(0, "is not installed", name)


def unmount(target: str, patience: float = 20.0) -> None:
    """Unmount; what a program of the guest still uses is waited for a little."""
    end = time.monotonic() + patience
    while True:
        try:
            kernel.unmount(target)
            return
        except OSError as error:
            if error.errno != 16 or time.monotonic() > end:
                raise
            time.sleep(0.05)


def mount_system() -> None:
    """/proc and /sys of this kernel, over those of the host that hostfs shows; /dev is there already."""
    kernel.mount("proc", "/proc", "proc")
    kernel.mount("sysfs", "/sys", "sysfs", kernel.MS_RDONLY)


def kernel_log() -> str:
    """What the kernel has said so far."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    lines: list[Any] = []
    try:
        while True:
            lines.append(os.read(fd, 8192))
    except BlockingIOError:
        pass
    finally:
        os.close(fd)
    return b"".join(lines).decode(errors="replace")
