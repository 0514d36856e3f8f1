"""Folding after many random writes, zeroings and discards; what a VM sees, by QEMU, is the truth."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from vmstamp.machine.overlay import create_overlay, fold
from vmstamp.run import run

KIB = 1 << 10
SIZE = (8 << 20) + 512  # no multiple of a cluster
FOOTER = b"conectix" + bytes(504)


def make_backing(path: Path, chance: random.Random) -> None:
    with path.open("wb") as file:
        file.truncate(SIZE)
        for _ in range(12):
            length = chance.choice((512, 4 * KIB, 300 * KIB))
            file.seek(chance.randrange(0, SIZE - length, 512))
            file.write(chance.randbytes(length))
        file.seek(SIZE)
        file.write(FOOTER)


def write_at_random(overlay: Path, chance: random.Random, count: int) -> None:
    words = []
    for _ in range(count):
        length = 512 * chance.choice((1, 7, 128, 129, 700))
        offset = chance.randrange(0, SIZE - length + 512, 512)
        how = chance.choice((f"write -P {chance.randrange(1, 256)}", "write -z", "write -z -u", "discard"))
        words += ["-c", f"{how} {offset} {length}"]
    run(["qemu-io", "-f", "qcow2", "-d", "unmap", *words, overlay])


@pytest.mark.parametrize("seed", range(8))
def test_what_a_vm_sees_is_folded_and_nothing_behind_it_is_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    content, overlay = tmp_path / "content", tmp_path / "os.qcow2"
    make_backing(content, chance)
    for generation in range(3):  # what was folded is what the next overlay lies over
        overlay.unlink(missing_ok=True)
        create_overlay(overlay, content, SIZE)
        write_at_random(overlay, chance, 40)
        run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, tmp_path / "seen"])
        folded = tmp_path / f"content{generation}"
        fold(overlay, content, SIZE, folded)
        assert folded.read_bytes() == (tmp_path / "seen").read_bytes() + FOOTER
        content = folded
