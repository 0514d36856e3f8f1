"""What lies in partitions, and which firmware starts the disk."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from vmstamp.disk.partitions import BIOS_BOOT, LINUX_FILE_SYSTEM, NewPartition, build_gpt
from vmstamp.errors import GuestError
from vmstamp.guest.facts import gather
from vmstamp.guest.files.fs import find_source, mount, names_content, survey
from vmstamp.guest.files.probe import probe
from vmstamp.guest.files.window import Window
from vmstamp.guest.inspect import inspect, require_bootable

MIB = 1024 * 1024
SIZE = 64 * MIB
A_UUID = UUID("6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a")


def mbr(*, code: bytes = b"\xeb\x63", kind: int = 0x83, signature: int = 0xDEADBEEF) -> bytes:
    """Sector 0 with one partition of 32 MiB at 1 MiB."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\0" * 3, kind, b"\0" * 3, 2048, 65_536)
    sector = code.ljust(440, b"\0") + struct.pack("<I", signature) + b"\0\0" + entry + bytes(48)
    return sector + b"\x55\xaa"


def superblock(**fields: int) -> bytes:
    """A plausible ext4 superblock of 8 MiB; `fields` are offsets x to a u32."""
    block = bytearray(1024)
    values = {0x04: 2048, 0x18: 2, 0x20: 32_768, 0x5C: 4, 0x60: 0x40}
    values.update({int(name[1:], 16): value for name, value in fields.items()})
    for offset, value in values.items():
        struct.pack_into("<I", block, offset, value)
    struct.pack_into("<HH", block, 0x38, 0xEF53, 1)
    block[0x68:0x78] = A_UUID.bytes
    block[0x78:0x7C] = b"root"
    return bytes(block)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("LUKS", {0: b"LUKS\xba\xbe\x00\x02"}),
        ("BitLocker", {0: b"\xeb\x58\x90-FVE-FS-"}),
        ("exfat", {0: b"\xeb\x76\x90EXFAT   "}),
        ("swap", {65526: b"SWAPSPACE2", 1036: A_UUID.bytes}),
        ("swap", {4086: b"SWAPSPACE2", 1036: A_UUID.bytes}),
        ("squashfs", {0: b"hsqs"}),
        ("iso9660", {0x8001: b"CD001"}),
    ],
)
def test_what_is_not_read_is_named(guests: Any, kind: str, parts: dict[int, bytes]) -> None:
    found = probe(Window(guests.raw_disk(SIZE, parts), 0, SIZE))
    assert found is not None
    assert (found.kind, found.unread) == (kind, "not read by this version")


def test_zeros_are_nothing_known(guests: Any) -> None:
    assert probe(Window(guests.raw_disk(SIZE, {}), 0, SIZE)) is None


@pytest.mark.parametrize(
    ("fields", "unread", "dirty"),
    [
        ({}, "", ""),
        ({"x60": 0x44}, "", "its journal needs recovery"),
        ({"x60": 0x8040}, "its feature inline_data is not read by this version", ""),
        ({"x60": 0x10040}, "its feature encrypt is not read by this version", ""),
        ({"x04": 1 << 31}, "its superblock says 8796093022208 bytes, but 67108864 are there", ""),
        ({"x18": 30}, "its superblock is damaged", ""),
        ({"x20": 0}, "its superblock is damaged", ""),
        ({"x20": 1}, "its superblock is damaged", ""),
    ],
)
def test_an_ext_superblock_is_judged_before_it_is_trusted(
    guests: Any, fields: dict[str, int], unread: str, dirty: str
) -> None:
    found = probe(Window(guests.raw_disk(SIZE, {1024: superblock(**fields)}), 0, SIZE))
    assert found is not None
    assert (found.kind, found.uuid, found.label) == ("ext4", str(A_UUID), "root")
    assert (found.unread, found.dirty) == (unread, dirty)


def test_an_mbr_with_boot_code_is_generation_1(guests: Any) -> None:
    facts = gather(guests.raw_disk(SIZE, {0: mbr()}))
    assert facts.boot.generations == (1,)
    assert gather(guests.raw_disk(SIZE, {0: mbr(code=b"")})).boot.generations == ()


def gpt_disk(guests: Any, bios_boot: bytes) -> Any:
    parts = [
        NewPartition(BIOS_BOOT, "bios", MIB, MIB, UUID(int=1)),
        NewPartition(LINUX_FILE_SYSTEM, "root", 2 * MIB, 0, UUID(int=2)),
    ]
    table = build_gpt(SIZE, parts, UUID(int=3), boot_code=b"\xeb\x63GRUB")
    layout = {0: table.head, table.tail_offset: table.tail, MIB: bios_boot, 2 * MIB + 1024: superblock()}
    return guests.raw_disk(SIZE, layout)


@pytest.mark.parametrize(("content", "generations"), [(b"\x52\xe8", (1,)), (b"", ())])
def test_a_gpt_boots_by_bios_with_a_filled_bios_boot_partition(
    guests: Any, content: bytes, generations: tuple[int, ...]
) -> None:
    assert gather(gpt_disk(guests, content)).boot.generations == generations


@pytest.mark.parametrize(
    "source",
    [
        f"UUID={A_UUID}",
        f"UUID={str(A_UUID).upper()}",
        f'UUID="{A_UUID}"',
        "LABEL=root",
        "PARTLABEL=root",
        f"PARTUUID={UUID(int=2)}",
        f"/dev/disk/by-uuid/{A_UUID}",
        "/dev/disk/by-label/root",
    ],
)
def test_sources_are_found_by_every_stable_name(guests: Any, source: str) -> None:
    found = find_source(source, survey(gpt_disk(guests, b"")).contents)
    assert names_content(source)
    assert found is not None
    assert found.number == 2


def test_an_mbrs_partuuid_is_its_signature_and_number(guests: Any) -> None:
    contents = survey(guests.raw_disk(SIZE, {0: mbr()})).contents
    assert find_source("PARTUUID=deadbeef-01", contents) is contents[0]
    assert find_source("PARTUUID=deadbeef-02", contents) is None
    assert find_source("/dev/sda1", contents) is None


def test_a_damaged_windows_may_be_tried(guests: Any) -> None:
    disk = guests.raw_disk(SIZE, {0: mbr(kind=7), MIB: b"\xeb\x52\x90NTFS    "})
    report = inspect(disk)
    assert (report.os, report.generations) == (None, (1,))
    found = {finding.id: finding for finding in report.findings}["root-fs-supported"]
    assert found.status == "warning"
    assert "ntfs" in found.found
    require_bootable(report)


def test_a_data_disk_with_boot_code_is_not_bootable(guests: Any) -> None:
    report = inspect(guests.raw_disk(SIZE, {0: mbr(kind=0x82), MIB + 4086: b"SWAPSPACE2"}))
    assert report.generations == ()
    with pytest.raises(GuestError, match="it holds: swap"):
        require_bootable(report)


def test_a_damaged_root_is_told_as_such(guests: Any) -> None:
    disk = guests.raw_disk(SIZE, {0: mbr(), MIB + 1024: superblock()})
    report = inspect(disk)
    found = {finding.id: finding for finding in report.findings}["root-fs-supported"]
    assert found.status == "fail"
    with pytest.raises(GuestError, match="no operating system found; it holds: ext4"):
        require_bootable(report)


def test_an_esp_that_fstab_leaves_out_is_mounted_as_systemd_does(guests: Any) -> None:
    generator = "/usr/lib/systemd/system-generators/systemd-gpt-auto-generator"
    esp, _ = guests.facts({}).survey.contents
    esp = replace(esp, volume=guests.tree({"/EFI/Linux/x.efi": "MZ"}).tree("/"))
    for files, mounts in (
        ({generator: "ELF", "/efi/": "", "/boot/": ""}, ("/", "/efi")),
        ({generator: "ELF", "/boot/": ""}, ("/", "/boot")),
        ({generator: "ELF", "/boot/vmlinuz": ""}, ("/",)),
        ({"/efi/": ""}, ("/",)),
    ):
        found, unmounted = mount(guests.tree({"/etc/fstab": "", **files}).tree("/"), (esp,))
        assert (found.mounts, unmounted) == (mounts, ())
