"""The disk as a whole: where its partitions lie, its partition table, and the EFI system partition.

A Gen2 disk, written by offset, with no loop device and no mount:

    offset        length           what
    0             1 MiB            protective MBR, primary GPT
    1 MiB         64 MiB           partition 1: EFI system partition, FAT32
    65 MiB        the rest         partition 2: ext4; the last one, so that it can grow
    size - 1 MiB  1 MiB            backup GPT, in the last 33 sectors

Source: UEFI 2.10, 5.3 (GPT) and 13.3 (EFI system partition).
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from vmstamp.disk.partitions import EFI_SYSTEM, LINUX_ROOT_X86_64, NewPartition, build_gpt
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.run import run

MIB = 1 << 20
SECTOR = 512
ESP_START = MIB
ESP_LENGTH = 64 * MIB
ROOT_START = ESP_START + ESP_LENGTH


@dataclass(frozen=True)
class Ids:
    """What tells this disk from any other: the GUIDs of table and partitions, the ids of file systems."""

    disk: UUID
    esp_partition: UUID
    root_partition: UUID
    root: UUID
    esp: int  # FAT volume serial number, 32 bits

    @property
    def esp_uuid(self) -> str:
        """The FAT serial number as UUID= in fstab spells it."""
        return f"{self.esp >> 16:04X}-{self.esp & 0xFFFF:04X}"


def new_ids(randomness: random.Random) -> Ids:
    """Fresh ids from a source of randomness."""

    def guid() -> UUID:
        return UUID(int=randomness.getrandbits(128), version=4)

    return Ids(guid(), guid(), guid(), guid(), randomness.randrange(1, 1 << 32))


def root_length(size: int) -> int:
    """The bytes of the root partition on a disk of `size` bytes. RecipeError: `size` will not do."""
    length = size - MIB - ROOT_START
    if size % MIB or length < 32 * MIB:
        least = (ROOT_START + 33 * MIB) // MIB
        raise RecipeError(
            f"a disk of {size} bytes cannot hold the partitions",
            hint=f"the size is a whole number of MiB, at least {least} MiB",
        )
    return length


def create_disk(path: Path, size: int, ids: Ids) -> None:
    """Create a sparse raw disk with its partition table and nothing else. Raises OSError, RecipeError."""
    length = root_length(size)
    gpt = build_gpt(
        size,
        [
            NewPartition(EFI_SYSTEM, "EFI system", ESP_START, ESP_LENGTH, ids.esp_partition),
            NewPartition(LINUX_ROOT_X86_64, "root", ROOT_START, length, ids.root_partition),
        ],
        ids.disk,
    )
    with path.open("xb") as file:
        file.truncate(size)
        file.write(gpt.head)
        file.seek(gpt.tail_offset)
        file.write(gpt.tail)
    # A file system may be written into it by another user of a namespace; the directory keeps others out.
    path.chmod(0o666)


def write_esp(disk: Path, ids: Ids, trees: Sequence[Path]) -> None:
    """Make the EFI system partition and copy `trees` (directories) to its top. Raises ProgramError."""
    image = f"{disk}@@{ESP_START}"
    environment = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": os.devnull}
    geometry = ["-T", str(ESP_LENGTH // SECTOR), "-h", "64", "-s", "32", "-H", str(ESP_START // SECTOR)]
    run(
        ["mformat", "-i", image, "-F", "-c", "1", *geometry, "-N", f"{ids.esp:08x}", "-v", "ESP", "::"],
        env=environment,
    )
    run(["mcopy", "-i", image, "-s", "-Q", *trees, "::"], env=environment)
