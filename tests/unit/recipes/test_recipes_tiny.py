from __future__ import annotations

import gzip
import random
import re

import pytest

from vmstamp.recipes import cpio, tiny
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.layout import new_ids

# A file of two bytes, as `cpio -H newc` writes it (times and numbers 0 but for the inode), and the trailer.
NEWC_FILE = (
    b"070701" + b"00000001" + b"000081A4" + b"00000000" * 2 + b"00000001" + b"00000000" + b"00000002"
    + b"00000000" * 4 + b"00000006" + b"00000000" + b"a/b.c\0" + b"hi\0\0"
)  # fmt: skip


def module(depends: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0retpoline=Y\0"


MODULES = {name: module("") for name in tiny.MODULES} | {
    "udf": module("crc-itu-t,cdrom"),
    "cdrom": module(""),
    "virtio_pci": module("virtio_ring,virtio"),
    "virtio_ring": module(""),
    "virtio": module("virtio_ring"),
}


def test_cpio_has_the_kernels_form() -> None:
    archive = cpio.pack([cpio.file("a/b.c", b"hi")])
    assert archive.startswith(NEWC_FILE)
    assert archive[len(NEWC_FILE) :].startswith(b"070701")
    assert b"TRAILER!!!\0" in archive
    assert len(archive) % 4 == 0


def test_modules_come_after_what_they_need() -> None:
    order = tiny.order_modules(["virtio_pci", "udf"], MODULES)
    assert order == ["virtio_ring", "virtio", "virtio_pci", "cdrom", "udf"]


def test_a_module_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(RecipeError, match="no module sr_mod"):
        tiny.order_modules(["sr_mod"], {"udf": module("")})


def test_the_initramfs_has_every_program_that_its_scripts_call() -> None:
    archive = gzip.decompress(tiny.pack_initramfs(b"busybox", MODULES))
    names = set(re.findall(rb"bin/([a-z0-9-]+)\0", archive))
    for program in (b"wget", b"udhcpc", b"nc", b"insmod", b"findfs", b"poweroff", b"timeout", b"nslookup"):
        assert program in names
    assert b"modules/order\0" in archive


def test_the_menu_boots_at_once_from_the_root_file_system_by_uuid() -> None:
    ids = new_ids(random.Random(3))
    assert tiny.grub_menu(ids).splitlines() == [
        f"linux /vmlinuz root=UUID={ids.root} console=ttyS0,115200n8 loglevel=6",
        "initrd /initrd.img",
        "boot",
    ]
