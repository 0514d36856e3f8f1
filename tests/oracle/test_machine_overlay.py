"""Overlays and their folding, against what QEMU's own tools read and write."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from vmstamp.errors import ProgramError
from vmstamp.machine.overlay import create_overlay, fold, written
from vmstamp.run import run

MIB = 1 << 20
SIZE = 64 * MIB
FOOTER = b"conectix" + b"\xa5" * 504


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """A sparse disk with data in five places, one across a cluster's border, and a footer behind it."""
    path = tmp_path / "content"
    noise = random.Random(1)
    with path.open("wb") as file:
        for offset, length in ((0, 512), (MIB - 100, 300), (5 * MIB, MIB), (40 * MIB, 4096)):
            file.seek(offset)
            file.write(noise.randbytes(length))
        file.seek(SIZE - 512)
        file.write(b"end of the disk".ljust(512, b"."))
        file.write(FOOTER)
    return path


def write(overlay: Path, *commands: str) -> None:
    """Write to an overlay as a VM does."""
    words = [word for command in commands for word in ("-c", command)]
    run(["qemu-io", "-f", "qcow2", "-d", "unmap", *words, overlay])


def visible(overlay: Path, tmp_path: Path) -> bytes:
    """What a VM sees, by QEMU's own conversion."""
    run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, tmp_path / "seen"])
    return (tmp_path / "seen").read_bytes()


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_fresh_overlay_shows_the_disk_without_its_footer(backing: Path, tmp_path: Path) -> None:
    create_overlay(tmp_path / "os.qcow2", backing, SIZE)
    assert visible(tmp_path / "os.qcow2", tmp_path) == backing.read_bytes()[:SIZE]
    assert not written(tmp_path / "os.qcow2")


WRITES = {
    "over data": ("write -P 0x11 5M 64k",),
    "over a hole": ("write -P 0x22 20M 192k",),
    "across clusters": ("write -P 0x33 65000 3000", "write -P 0x44 1048000 70000"),
    "in scrambled order": tuple(f"write -P {n} {(n * 37) % 60}M 4k" for n in range(1, 40)),
    "the last sector": (f"write -P 0x55 {SIZE - 512} 512",),
    "zeroed": ("write -z -u 5M 1M",),
    "discarded": ("write -P 0x66 30M 1M", "discard 30M 1M", "discard 40M 64k"),
}


@pytest.mark.parametrize("commands", WRITES.values(), ids=WRITES.keys())
def test_folding_gives_what_the_vm_sees_and_the_footer(
    backing: Path, tmp_path: Path, commands: tuple[str, ...]
) -> None:
    overlay, folded = tmp_path / "os.qcow2", tmp_path / "folded"
    create_overlay(overlay, backing, SIZE)
    write(overlay, *commands)
    before = backing.read_bytes()
    fold(overlay, backing, SIZE, folded)
    assert written(overlay)
    assert folded.read_bytes() == visible(overlay, tmp_path) + FOOTER
    assert backing.read_bytes() == before


def test_what_was_zeroed_becomes_a_hole(backing: Path, tmp_path: Path) -> None:
    overlay, folded = tmp_path / "os.qcow2", tmp_path / "folded"
    create_overlay(overlay, backing, SIZE)
    write(overlay, "write -z -u 5M 1M")
    fold(overlay, backing, SIZE, folded)
    assert allocated(folded) <= allocated(backing) - MIB


def test_folding_leaves_nothing_when_it_fails(backing: Path, tmp_path: Path) -> None:
    overlay, folded = tmp_path / "os.qcow2", tmp_path / "folded"
    create_overlay(overlay, backing, SIZE)
    write(overlay, "write 0 1M")
    with overlay.open("r+b") as file:
        file.truncate(300_000)
    with pytest.raises((OSError, ProgramError)):
        fold(overlay, backing, SIZE, folded)
    assert not folded.exists()


def test_what_is_no_overlay_is_refused(backing: Path, tmp_path: Path) -> None:
    (tmp_path / "os.qcow2").write_bytes(b"QFI\xfb" + bytes(100))
    with pytest.raises(ProgramError):
        written(tmp_path / "os.qcow2")


def test_an_overlay_is_as_small_for_a_disk_of_1_tib(tmp_path: Path) -> None:
    sizes = []
    for size in (1 << 30, 1 << 40):
        content = tmp_path / f"content{size}"
        with content.open("wb") as file:
            file.truncate(size)
            os.pwrite(file.fileno(), FOOTER, size)
        create_overlay(tmp_path / f"{size}.qcow2", content, size)
        sizes.append(allocated(tmp_path / f"{size}.qcow2"))
    assert max(sizes) < 512 * 1024
