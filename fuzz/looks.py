"""What is done with a mutated file. Only VmstampError may come out, and nothing that the contract forbids."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from vmstamp import disk
from vmstamp.disk import Disk
from vmstamp.disk.check import check, repair
from vmstamp.disk.detect import FOREIGN
from vmstamp.disk.file import ImageFile
from vmstamp.disk.foreign import NODES
from vmstamp.disk.gpt_repair import mended_gpt
from vmstamp.disk.partitions import read_partitions
from vmstamp.disk.resized import Changed
from vmstamp.errors import VmstampError

Look = Callable[[Path, random.Random], None]

MOST_EXTENTS = 1000
LENGTHS = (1, 512, 4097, 70_000)


class Broken(Exception):
    """The contract of a disk, or of repair, does not hold."""


def look_at_disk(path: Path, rng: random.Random) -> None:
    """Opened, read, listed, described, checked; one in eight mended."""
    if _is_foreign(path):
        return  # QEMU would read it: that is not what is fuzzed
    with contextlib.suppress(VmstampError), disk.open(path) as opened:
        for step in (
            read_partitions,
            _mend_table,
            _list,
            disk.describe,
            *(_reader(opened, rng) for _ in range(4)),
        ):
            with contextlib.suppress(VmstampError):
                step(opened)
    state = ""
    with contextlib.suppress(VmstampError):
        state = check(path).state
    if rng.randrange(8) == 0:
        _mend(path, state)


def _is_foreign(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(80)
    return any(head[at : at + len(magic)] == magic for at, magic, _ in FOREIGN)


def _list(opened: Disk) -> None:
    end = -1
    for low, high in islice(opened.extents(), MOST_EXTENTS):
        if not end < low < high <= opened.size:
            raise Broken(f"extent [{low}, {high}) behind one that ends at {end}, of {opened.size} bytes")
        end = high


def _mend_table(opened: Disk) -> None:
    """A GPT that is mended is whole, has the same partitions, and nothing in them was written."""
    mends = mended_gpt(opened)
    if not mends:
        return
    before, after = read_partitions(opened), read_partitions(Changed(opened, opened.size, mends))
    if after.notes or after.partitions != before.partitions:
        raise Broken(f"a GPT that was mended: {after.notes or 'it has other partitions'}")
    for at, data in mends.items():
        if any(at < part.end and part.start < at + len(data) for part in before.partitions):
            raise Broken(f"a GPT's mend writes into a partition at byte {at}")


def _reader(opened: Disk, rng: random.Random) -> Callable[[Disk], None]:
    """A read at the head, the tail or anywhere, twice."""
    length = min(rng.choice(LENGTHS), opened.size)
    at = rng.choice((0, opened.size - length, rng.randrange(opened.size - length + 1)))

    def read(opened: Disk) -> None:
        data = bytearray(length)
        found = opened.read(at, length)
        opened.read_into(at, memoryview(data))
        if found != data:
            raise Broken(f"{length} bytes at {at}: read gives other bytes than read_into")

    return read


def _mend(path: Path, state: str) -> None:
    mended = path.with_name("mended")
    try:
        with contextlib.suppress(VmstampError):
            repair(path, mended)
            if state == "repairable" and (found := check(mended)).state != "sound":
                raise Broken(f"mended, and still: {found.problems[0].what}")
    finally:
        mended.unlink(missing_ok=True)


def _header_of(name: str) -> Look:
    def look(path: Path, rng: random.Random) -> None:
        file = ImageFile(path)
        try:
            with contextlib.suppress(VmstampError):
                NODES[name](file, rng.random() < 0.5)
        finally:
            file.close()

    return look


look_at_qcow2, look_at_vmdk, look_at_vdi = (_header_of(name) for name in ("qcow2", "vmdk", "vdi"))


def look_for(kind: str) -> Look:
    """What is done with files of `kind`."""
    looks = {"qcow2": look_at_qcow2, "vmdk": look_at_vmdk, "vdi": look_at_vdi}
    return looks.get(kind.partition("-")[0], look_at_disk)
