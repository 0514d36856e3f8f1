"""What a rework would mount and do, and what it refuses, decided before anything is copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.guest.windows_guests import WindowsGuests
from vmstamp.errors import GuestError
from vmstamp.guest.edits import (
    CopyKey,
    DeleteValue,
    Empty,
    GuestEdit,
    Remove,
    Run,
    SetValue,
    Symlink,
    Truncate,
    Write,
)
from vmstamp.guest.facts import Facts
from vmstamp.guest.files.fs import Survey
from vmstamp.guest.files.lvm import LogicalVolume, Segment
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.workshop import plan, uml
from vmstamp.guest.workshop.inside import devices

MIB = 1024 * 1024


def with_kind(facts: Facts, index: int, kind: str, **changes: str) -> Survey:
    """The survey with another file system in one of its contents."""
    contents = list(facts.survey.contents)
    contents[index] = replace(contents[index], file_system=FileSystem(kind, **changes))
    root = contents[1] if facts.survey.root is not None else None
    return replace(facts.survey, contents=tuple(contents), root=root)


def test_root_and_the_file_systems_of_fstab_are_mounted(guests: Any) -> None:
    facts = guests.facts({})
    (root,) = plan.find_roots(facts.disk, facts.survey)
    assert (root.target, root.kind, root.place) == ("/", "ext4", [(1983 * MIB, [64 * MIB], 0)])
    (esp,) = plan.find_others(facts.survey)
    assert (esp.target, esp.kind, esp.place, esp.optional) == (
        "/boot/efi",
        "vfat",
        [(63 * MIB, [MIB], 0)],
        False,
    )


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("UUID=ABCD-1234 /a/b vfat nofail 0 1\nUUID=ABCD-1234 /a/ vfat defaults 0 0", ["/a", "/a/b"]),
        ("UUID=ABCD-1234 none swap sw 0 0", []),
        ("UUID=ABCD-1234 /../../etc vfat defaults 0 0", []),
        ("UUID=0000-0000 /elsewhere vfat defaults 0 0", []),
        ("/dev/sdb1 /mnt auto defaults 0 0", []),
    ],
)
def test_a_directory_is_mounted_before_what_lies_in_it(guests: Any, line: str, targets: list[str]) -> None:
    facts = guests.facts({"/etc/fstab": line + "\n"})
    assert [one.target for one in plan.find_others(facts.survey)] == targets


def test_a_root_on_btrfs_is_looked_for_in_its_subvolumes(guests: Any) -> None:
    facts = guests.facts(
        {"/etc/fstab": f"UUID={guests.root_uuid} / btrfs rw,subvol=/@sys,compress=zstd 0 0\n"}
    )
    found = with_kind(facts, 1, "btrfs", uuid=guests.root_uuid)
    options = [one.options for one in plan.find_roots(facts.disk, found)]
    assert options[:3] == ["subvol=/@sys", "", "subvol=@"]


def test_a_logical_volume_is_a_place_of_several_segments(guests: Any) -> None:
    content = guests.facts({}).survey.contents[1]
    segments = (Segment(0, 4 * MIB, (10 * MIB,)), Segment(4 * MIB, 8 * MIB, (20 * MIB, 30 * MIB), 65536))
    volume = LogicalVolume("vg", "root", segments=segments, size=12 * MIB)
    place = plan.place_of(replace(content, logical=volume))
    assert place == [(4 * MIB, [10 * MIB], 0), (8 * MIB, [20 * MIB, 30 * MIB], 65536)]


def test_the_device_mapper_gets_sectors() -> None:
    assert devices.mapped(4 * MIB, ["/dev/a1"], 0) == (8192, "linear", "/dev/a1 0")
    striped = devices.mapped(8 * MIB, ["/dev/a1", "/dev/a2"], 65536)
    assert striped == (16384, "striped", "2 128 /dev/a1 0 /dev/a2 0")


@pytest.mark.parametrize("kind", plan.ENCRYPTED)
def test_an_encrypted_disk_is_refused_by_name(guests: Any, kind: str) -> None:
    facts = guests.facts({})
    found = replace(with_kind(facts, 1, kind), root=None, files=None)
    with pytest.raises(GuestError, match=f"partition 2 is encrypted \\({kind}\\)") as caught:
        plan.find_roots(facts.disk, found)
    assert "decrypt" in caught.value.hint


def test_a_disk_without_a_system_is_refused(guests: Any) -> None:
    facts = guests.facts({})
    with pytest.raises(GuestError, match="no operating system found; it holds: vfat, ext4"):
        plan.find_roots(facts.disk, replace(facts.survey, root=None, files=None))


def test_a_partition_is_mounted_for_the_edits_in_it(windows: WindowsGuests) -> None:
    survey = windows.facts().survey
    edits: list[GuestEdit] = [
        SetValue("/Windows/System32/config/SYSTEM", "k", "n", "REG_SZ", ""),
        SetValue("/EFI/Microsoft/Boot/BCD", "k", "n", "REG_SZ", "", 1),
        Write("/EFI/BOOT/BOOTX64.EFI", b"", partition=1),
    ]
    (esp,) = plan.find_volumes(survey, edits)
    assert (esp.number, esp.kind, esp.place) == (1, "vfat", [(99 * MIB, [MIB], 0)])
    assert plan.find_volumes(survey, edits[:1]) == []
    assert [plan.edit_to_json(edit)["partition"] for edit in edits] == [0, 1, 1]
    with pytest.raises(GuestError, match="partition 3 has no file system that could be edited"):
        plan.find_volumes(survey, [Write("/x", b"", partition=3)])
    with pytest.raises(GuestError, match="partition 2 is the guest's own"):
        plan.find_volumes(survey, [Write("/x", b"", partition=2)])


def test_a_dirty_file_system_is_refused_with_what_to_do(guests: Any) -> None:
    facts = guests.with_root(guests.facts({}), dirty="its journal needs recovery")
    with pytest.raises(GuestError, match="partition 2: ext4, its journal needs recovery") as caught:
        plan.refuse_dirty(plan.find_roots(facts.disk, facts.survey))
    assert "shut it down" in caught.value.hint


def test_a_program_of_another_architecture_is_refused(guests: Any) -> None:
    arm = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00"
    facts = guests.facts({"/usr/bin/sh": arm})
    with pytest.raises(GuestError, match="the guest is aarch64"):
        plan.refuse_programs(facts.survey, "ext4", [Remove("/x"), Run(("/bin/true",))])
    plan.refuse_programs(facts.survey, "ext4", [Remove("/x")])
    plan.refuse_programs(guests.facts({}).survey, "ext4", [Run(("/bin/true",))])
    with pytest.raises(GuestError, match="programs of Windows"):
        plan.refuse_programs(facts.survey, "ntfs", [Run(("cmd.exe",))])


def test_a_boot_loader_is_not_configured_offline_on_a_logical_volume(guests: Any) -> None:
    survey = guests.facts({}).survey
    volume = LogicalVolume("vg", "root", 12 * MIB, ())
    survey = replace(survey, root=replace(survey.root, logical=volume))
    plan.refuse_programs(survey, "ext4", [Run(("update-initramfs", "-u"))])
    with pytest.raises(GuestError, match="run /usr/sbin/update-grub: cannot be run offline"):
        plan.refuse_programs(survey, "ext4", [Run(("update-initramfs",)), Run(("/usr/sbin/update-grub",))])


@pytest.mark.parametrize(
    "edit",
    [
        Remove("etc/hostname"),
        Remove("/"),
        Remove("/."),
        Empty("/etc/../../x"),
        Truncate("/etc/\0"),
        Write("", b""),
        Symlink("/x", ""),
        Run(()),
        Run(("a\0b",)),
        SetValue("/x", "k", "n", "REG_LINK", b""),
        DeleteValue("SYSTEM", "k", "n"),
        CopyKey("SYSTEM", "k", "l"),
    ],
)
def test_an_edit_that_names_no_path_of_the_guest_is_refused(edit: GuestEdit) -> None:
    with pytest.raises(GuestError):
        plan.check_edit(edit)


@pytest.mark.parametrize(
    ("kind", "data", "stored"),
    [
        ("REG_DWORD", 4, b"\4\0\0\0"),
        ("REG_QWORD", 1, b"\1" + bytes(7)),
        ("REG_SZ", "a", b"a\0\0\0"),
        ("REG_EXPAND_SZ", "", b"\0\0"),
        ("REG_MULTI_SZ", ("a", "b"), b"a\0\0\0b\0\0\0\0\0"),
        ("REG_BINARY", b"\1\2", b"\1\2"),
    ],
)
def test_a_registry_value_is_stored_as_windows_does(
    kind: str, data: int | str | bytes, stored: bytes
) -> None:
    assert plan.encode_value(kind, data) == stored


@pytest.mark.parametrize(("kind", "data"), [("REG_DWORD", "4"), ("REG_DWORD", 1 << 32), ("REG_SZ", b"a")])
def test_a_registry_value_of_another_type_is_refused(kind: str, data: int | str | bytes) -> None:
    with pytest.raises(GuestError):
        plan.encode_value(kind, data)


def test_the_command_line_keeps_a_path_with_spaces_in_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml, "find_program", lambda name: f"/usr/bin/{name}")
    words = uml.command(3, 4, Path("/a dir/executor.py"))
    assert words[0] == "/usr/bin/linux.uml"
    assert words[-1] == '"/a dir/executor.py"'
    assert {"ro", "ubd0=/proc/self/fd/3", "ubd1=/proc/self/fd/4"} <= set(words)
    with pytest.raises(GuestError, match="quotation mark"):
        uml.command(3, 4, Path('/a"b/executor.py'))
