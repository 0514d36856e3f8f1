"""Listing an initramfs: archives one after the other, packed or not, whole or broken."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import random
import struct
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import zstandard

from vmstamp.errors import GuestError
from vmstamp.guest.boot import initramfs
from vmstamp.guest.boot.initramfs import read_initramfs

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
    assert read_initramfs(guests.node(data)).names == {"init", "lib/a.ko", "x" * 300}


@pytest.mark.parametrize("gap", [0, 4, 512, 1024])
def test_microcode_before_the_packed_archive_is_read_too(guests: Any, gap: int) -> None:
    early = guests.cpio("kernel/x86/microcode/GenuineIntel.bin")
    data = early + bytes(gap) + gzip.compress(guests.cpio("init"))
    assert read_initramfs(guests.node(data)).names == {"kernel/x86/microcode/GenuineIntel.bin", "init"}


def test_two_plain_archives_are_read(guests: Any) -> None:
    data = guests.cpio("a") + bytes(512) + guests.cpio("b") + bytes(256)
    assert read_initramfs(guests.node(data)).names == {"a", "b"}


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
        read_initramfs(guests.node(data))


@pytest.mark.parametrize("packer", PACKERS)
def test_truncated_and_flipped_initramfs_end_in_our_error(guests: Any, packer: str) -> None:
    rng = random.Random(3)
    whole = PACKERS[packer](guests.cpio(*(f"lib/module-{n}.ko" for n in range(50))))
    for _ in range(60):
        data = bytearray(whole[: rng.randrange(1, len(whole))] if rng.random() < 0.5 else whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            read_initramfs(guests.node(bytes(data)))
        except GuestError as error:
            assert "initramfs is damaged" in error.message


def test_a_bomb_is_not_unpacked(guests: Any) -> None:
    fields = (1, 0o100644, 0, 0, 1, 0, 0x7FFFFFFF, 0, 0, 0, 0, 2, 0)
    entry = b"070701" + b"".join(b"%08X" % field for field in fields) + b"a\0"
    with pytest.raises(GuestError, match=f"more than {initramfs.MAX_UNPACKED}"):
        read_initramfs(guests.node(gzip.compress(entry + bytes(1000))))


def lz4_legacy(data: bytes, block: int = 8 * 1024 * 1024) -> bytes:
    pieces = [data[at : at + block] for at in range(0, len(data), block)]
    compress: Any = import_module("lz4.block").compress
    packed = [compress(piece, store_size=False) for piece in pieces]
    return struct.pack("<I", 0x184C2102) + b"".join(struct.pack("<I", len(one)) + one for one in packed)


def test_the_kernels_own_lz4_is_read(guests: Any) -> None:
    data = lz4_legacy(guests.cpio("init", "lib/a.ko", "x" * 300), block=100)
    assert read_initramfs(guests.node(data)).names == {"init", "lib/a.ko", "x" * 300}
    with pytest.raises(GuestError, match="damaged"):
        read_initramfs(guests.node(data[:-3]))


def test_lzo_is_refused_by_its_name(guests: Any) -> None:
    with pytest.raises(GuestError, match="packed with LZO"):
        read_initramfs(guests.node(b"\x89LZO\0\r\n\x1a\n" + bytes(100)))


def test_archives_one_after_the_other_inside_a_packing_are_read(guests: Any) -> None:
    data = gzip.compress(guests.cpio("a") + bytes(256) + guests.cpio("b") + bytes(64))
    assert read_initramfs(guests.node(data)).names == {"a", "b"}


def test_texts_about_disks_are_kept_and_large_ones_are_not(guests: Any) -> None:
    contents = {
        "./etc/lvm/lvm.conf": b"devices {\n}\n",
        "etc/modprobe.d/x.conf": b"x" * 70_000,
        "etc/passwd": b"root:x",
    }
    found = read_initramfs(guests.node(guests.cpio_of(contents, "init")))
    assert found.texts == {"etc/lvm/lvm.conf": "devices {\n}\n"}
    assert found.names == {"init", "etc/lvm/lvm.conf", "etc/modprobe.d/x.conf", "etc/passwd"}


def test_names_are_bounded_in_all(guests: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initramfs, "MAX_NAMES_LENGTH", 100)
    with pytest.raises(GuestError, match="too many names"):
        read_initramfs(guests.node(guests.cpio("a" * 60, "b" * 60)))


@pytest.mark.parametrize("packer", [*PACKERS, "lz4"])
@pytest.mark.parametrize("seed", range(8))
def test_damaged_archives_raise_nothing_but_our_error(guests: Any, packer: str, seed: int) -> None:
    rng = random.Random(seed)
    pack = PACKERS.get(packer, lz4_legacy)
    data = bytearray(pack(guests.cpio("init", *(f"lib/{n}.ko" for n in range(50)))))
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    with contextlib.suppress(GuestError):
        read_initramfs(guests.node(bytes(data[: rng.choice([len(data), len(data) // 2])])))
