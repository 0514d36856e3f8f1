"""The kernels of a guest with what belongs to each: modules, configuration, initramfs, boot entry.

Each is read when it is asked for, and once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from vmstamp.errors import GuestError
from vmstamp.guest.boot.grub import BootEntry, find_default, is_named
from vmstamp.guest.boot.initramfs import Initramfs, read_initramfs
from vmstamp.guest.boot.modules import Modules, find_config, find_modules, module_name
from vmstamp.guest.boot.uki import read_executable
from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.volume import Node

# Where a boot loader's paths may begin: at the root, or at a file system of its own.
BASES = ("", "/boot", "/boot/efi", "/efi")


def find_loader_path(files: Files, path: str) -> str | None:
    """The guest's path of a file that a boot loader names; None when it is absent.

    GRUB's paths start at the file system that holds /boot, on btrfs at its top: `/@/boot/vmlinuz`.
    """
    path = re.sub(r"^\(.*?\)", "", path)
    path = path if path.startswith("/") else f"/{path}"
    tail = path.find("/boot/")
    candidates = [f"{base}{path}" for base in BASES] + ([path[tail:]] if tail > 0 else [])
    return next((one for one in candidates if files.is_file(one)), None)


def has_loader_path(files: Files, esp: Files | None, path: str) -> bool:
    """Whether a boot loader finds the file: in the guest, or on an EFI system partition it does not mount."""
    return find_loader_path(files, path) is not None or (esp is not None and esp.is_file(path))


def find_default_entry(files: Files, entries: tuple[BootEntry, ...]) -> BootEntry | None:
    """The entry that starts when nobody chooses; where that is not known, the first not for rescue."""
    wanted = find_default(files)
    if wanted != "0":
        for entry in entries:
            if is_named(entry, wanted):
                return entry
    return next((entry for entry in entries if not entry.is_rescue), entries[0] if entries else None)


def find_initramfs(files: Files, release: str) -> str | None:
    """The initramfs of a kernel, as Debian, Red Hat and SUSE name it."""
    names = (f"/boot/initrd.img-{release}", f"/boot/initramfs-{release}.img", f"/boot/initrd-{release}")
    return next((path for path in names if files.is_file(path)), None)


@dataclass(frozen=True)
class Kernel:
    """A kernel by its release; `entry` is the first boot entry that starts it, if any."""

    files: Files
    release: str
    entry: BootEntry | None = None

    @property
    def where(self) -> str:
        return f"/lib/modules/{self.release}"

    @cached_property
    def modules(self) -> Modules:
        return find_modules(self.files, self.release)

    @cached_property
    def config(self) -> tuple[dict[str, str], str] | None:
        return find_config(self.files, self.release)

    @cached_property
    def path(self) -> str | None:
        """The kernel's own file."""
        names = [self.entry.kernel] if self.entry else []
        names += [f"/boot/vmlinuz-{self.release}", f"/usr/lib/modules/{self.release}/vmlinuz"]
        return next((found for name in names if (found := find_loader_path(self.files, name))), None)

    @cached_property
    def initramfs_path(self) -> str | None:
        """Where the initramfs is: the last that the entry names, else the one in /boot."""
        for initrd in reversed(self.entry.initrds if self.entry else ()):
            found = find_loader_path(self.files, initrd)
            if found is not None:
                return found
        if self.entry is not None and self.entry.image:
            return self.entry.image
        return find_initramfs(self.files, self.release)

    @property
    def initramfs_node(self) -> Node | None:
        """The initramfs, of a unified kernel the section that it is."""
        path = self.initramfs_path
        node = self.files.find(path) if path else None
        if node is not None and self.entry is not None and path == self.entry.image:
            image = read_executable(node)
            return image.sections.get(".initrd") if image else None
        return node

    @cached_property
    def initramfs(self) -> Initramfs:
        """What is in it. GuestError when there is none or it cannot be read."""
        node = self.initramfs_node
        if node is None:
            raise GuestError(f"the kernel {self.release} has no initramfs in /boot")
        return read_initramfs(node)

    @cached_property
    def early_modules(self) -> frozenset[str]:
        """The modules at hand before the root is mounted: those in the initramfs, and those built in."""
        names = (module_name(name) for name in self.initramfs.names if ".ko" in name)
        return frozenset(names) | self.modules.builtin


class Kernels:
    """The kernels of a guest, each looked at once. Not thread-safe."""

    def __init__(self, files: Files, releases: tuple[str, ...], entries: tuple[BootEntry, ...]) -> None:
        self._files = files
        self._releases = releases
        self._entries = entries

    @cached_property
    def default_entry(self) -> BootEntry | None:
        return find_default_entry(self._files, self._entries)

    @cached_property
    def all(self) -> tuple[Kernel, ...]:
        """Each installed kernel, oldest first; a rescue image is none."""
        ordinary = [entry for entry in self._entries if not entry.is_rescue]
        return tuple(
            Kernel(self._files, release, next((e for e in ordinary if e.release == release), None))
            for release in self._releases
            if "rescue" not in release
        )

    @cached_property
    def default(self) -> Kernel | None:
        """The kernel that boots when nobody chooses, else the newest."""
        entry = self.default_entry
        named = [kernel for kernel in self.all if entry is not None and kernel.release == entry.release]
        if named:
            return named[0]
        if entry is not None and entry.image and self.all:
            return Kernel(self._files, self.all[-1].release, entry)
        return self.all[-1] if self.all else None
