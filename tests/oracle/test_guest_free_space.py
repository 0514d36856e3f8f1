"""The free blocks of ext2 and ext4 as dumpe2fs lists them, and old data in them."""

from __future__ import annotations

import random
import re
import shutil
import struct
from pathlib import Path

import pytest

import vmstamp.disk
from tests.oracle.test_guest_disks import guest_tree, join, make_esp, make_ext4, run
from vmstamp.errors import GuestError
from vmstamp.guest.checks.free_space import CHECKS
from vmstamp.guest.facts import gather
from vmstamp.guest.files.ext_free import free_ranges
from vmstamp.guest.files.window import Window
from vmstamp.guest.finding import Finding, judge

MIB = 1024 * 1024
TOOLS = ("mkfs.ext4", "debugfs", "dumpe2fs", "mformat", "mcopy")
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS),
    reason="mkfs.ext4, debugfs and dumpe2fs (e2fsprogs), mformat and mcopy (mtools) are missing",
)
SECRET = b"a key that was deleted\n" * 5000


def listed(image: Path) -> set[int]:
    """The free blocks by dumpe2fs, of the groups whose bitmap was written."""
    text = run("dumpe2fs", image).decode()
    found = set[int]()
    for group in re.split(r"\nGroup \d+:", text)[1:]:
        if "BLOCK_UNINIT" not in group.splitlines()[0]:
            for first, last in re.findall(
                r"(\d+)(?:-(\d+))?", group.rpartition("Free blocks: ")[2].split("\n")[0]
            ):
                found.update(range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("-b", "1024"), 40 * MIB),
        (("-b", "4096"), 160 * MIB),
        (("-b", "4096", "-O", "^64bit,^metadata_csum"), 300 * MIB),
        (("-O", "^has_journal,^extents,^64bit"), 20 * MIB),
    ],
)
def test_free_blocks_are_those_of_dumpe2fs(tmp_path: Path, options: tuple[str, ...], size: int) -> None:
    (tmp_path / "root").mkdir()
    guest_tree(tmp_path / "root")
    image = make_ext4(tmp_path / "root", tmp_path / "image", *options, size=size)
    with vmstamp.disk.open(image) as disk:
        block = 1024 << struct.unpack("<I", disk.read(1024 + 0x18, 4))[0]
        ranges = list(free_ranges(Window(disk, 0, disk.size)))
    assert {one for low, high in ranges for one in range(low // block, high // block)} == listed(image)
    assert ranges


@pytest.mark.parametrize("features", ["meta_bg,^resize_inode", "bigalloc"])
def test_bitmaps_of_another_form_are_an_error(tmp_path: Path, features: str) -> None:
    image = make_ext4(tmp_path, tmp_path.parent / "image", "-O", features)
    with vmstamp.disk.open(image) as disk, pytest.raises(GuestError, match="are not read"):
        list(free_ranges(Window(disk, 0, disk.size)))


def test_damage_gives_an_error_or_ranges_and_no_other_exception(tmp_path: Path) -> None:
    chance = random.Random(3)
    (tmp_path / "root").mkdir()
    data = make_ext4(tmp_path / "root", tmp_path / "image").read_bytes()
    for number in range(60):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 6)):
            broken[chance.choice([1024 + chance.randrange(0x160), 2048 + chance.randrange(64)])] ^= 0xFF
        path = tmp_path / f"broken{number}"
        path.write_bytes(broken)
        with vmstamp.disk.open(path) as disk:
            try:
                assert all(low < high for low, high in free_ranges(Window(disk, 0, disk.size)))
            except GuestError:
                continue


def make_disk(directory: Path, *, deleted: bool) -> Path:
    root = directory / "root"
    root.mkdir()
    guest_tree(root)
    if deleted:
        (root / "secret").write_bytes(SECRET)
    image = make_ext4(root, directory / "ext4")
    if deleted:
        run("debugfs", "-w", "-R", "rm /secret", image)
    esp = make_esp(directory / "esp", {"EFI/BOOT/BOOTX64.EFI": b"MZ"}, directory)
    return join(directory / "disk.raw", esp, image)


def look(path: Path, *, uploaded: bool = False) -> Finding:
    with vmstamp.disk.open(path) as disk:
        disk.uploaded = uploaded
        return judge(CHECKS[0], gather(disk))


def test_what_was_deleted_is_found_and_what_was_given_back_is_not(tmp_path: Path) -> None:
    path = make_disk(tmp_path, deleted=True)
    finding = look(path)
    assert (finding.status, finding.where) == ("warning", "partition 2")
    assert re.fullmatch(r"\d+ of \d+ free blocks that were read hold old data", finding.found)
    data = path.read_bytes()
    path.write_bytes(data.replace(SECRET, bytes(len(SECRET))))
    assert look(path).status == "pass"


def test_a_disk_of_which_nothing_was_deleted_passes_and_a_blob_is_not_read(tmp_path: Path) -> None:
    path = make_disk(tmp_path, deleted=False)
    assert look(path).status == "pass"
    assert look(path, uploaded=True).found == "the free space of a blob is not looked at"
