"""Listing an initramfs: archives one after the other, packed or not, whole or broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
import zstandard

from vmstamp.errors import GuestError
from vmstamp.guest import initramfs
from vmstamp.guest.initramfs import list_initramfs

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "not packed": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_every_packing_is_read(guests: Any, packer: str) -> None:
    data = PACKERS[packer](guests.cpio("init", "lib/a.ko", "x" * 300))
    assert list_initramfs(guests.node(data)) == {"init", "lib/a.ko", "x" * 300}


@pytest.mark.parametrize("gap", [0, 4, 512, 1024])
def test_microcode_before_the_packed_archive_is_read_too(guests: Any, gap: int) -> None:
    early = guests.cpio("kernel/x86/microcode/GenuineIntel.bin")
    data = early + bytes(gap) + gzip.compress(guests.cpio("init"))
    assert list_initramfs(guests.node(data)) == {"kernel/x86/microcode/GenuineIntel.bin", "init"}


def test_two_plain_archives_are_read(guests: Any) -> None:
    data = guests.cpio("a") + bytes(512) + guests.cpio("b") + bytes(256)
    assert list_initramfs(guests.node(data)) == {"a", "b"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"#!/bin/sh\n", "no packer known here"),
        (struct.pack("<I", 0x184C2102) + b"lz4", "no cpio archive"),
        (gzip.compress(b"hello, world", mtime=0), "no cpio archive"),
        (b"070701" + b"zz" * 52, "invalid literal"),
        (b"\x1f\x8b" + bytes(30), "damaged"),
        (b"\x28\xb5\x2f\xfd" + bytes(30), "damaged"),
        (b"\xfd7zXZ\0" + bytes(30), "damaged"),
    ],
)
def test_what_is_no_initramfs_says_so(guests: Any, data: bytes, why: str) -> None:
    with pytest.raises(GuestError, match=why):
        list_initramfs(guests.node(data))


@pytest.mark.parametrize("packer", PACKERS)
def test_truncated_and_flipped_initramfs_end_in_our_error(guests: Any, packer: str) -> None:
    rng = random.Random(3)
    whole = PACKERS[packer](guests.cpio(*(f"lib/module-{n}.ko" for n in range(50))))
    for _ in range(60):
        data = bytearray(whole[: rng.randrange(1, len(whole))] if rng.random() < 0.5 else whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            list_initramfs(guests.node(bytes(data)))
        except GuestError as error:
            assert "initramfs is damaged" in error.message


def test_a_bomb_is_not_unpacked(guests: Any) -> None:
    fields = (1, 0o100644, 0, 0, 1, 0, 0x7FFFFFFF, 0, 0, 0, 0, 2, 0)
    entry = b"070701" + b"".join(b"%08X" % field for field in fields) + b"a\0"
    with pytest.raises(GuestError, match=f"more than {initramfs.MAX_UNPACKED}"):
        list_initramfs(guests.node(gzip.compress(entry + bytes(1000))))
