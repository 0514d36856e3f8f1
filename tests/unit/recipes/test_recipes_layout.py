from __future__ import annotations

import random
from pathlib import Path

import pytest

import vmstamp.disk
from vmstamp.disk.partitions import read_partitions
from vmstamp.recipes.catalogue import RecipeError
from vmstamp.recipes.layout import create_disk, new_ids, root_length

MIB = 1 << 20
IDS = new_ids(random.Random(7))


def test_a_disk_has_an_efi_partition_and_a_root_that_takes_the_rest(tmp_path: Path) -> None:
    create_disk(tmp_path / "d.raw", 256 * MIB, IDS)
    with vmstamp.disk.open(tmp_path / "d.raw") as disk:
        table = read_partitions(disk)
    esp, root = table.partitions
    assert (table.scheme, table.disk_guid) == ("gpt", IDS.disk)
    assert (esp.start, esp.end, str(esp.type_guid)) == (
        MIB,
        65 * MIB,
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    )
    assert (root.start, root.end, root.unique_guid) == (65 * MIB, 255 * MIB, IDS.root_partition)
    assert root.length == root_length(256 * MIB)


def test_a_new_disk_is_sparse(tmp_path: Path) -> None:
    create_disk(tmp_path / "d.raw", 1024 * MIB, IDS)
    assert (tmp_path / "d.raw").stat().st_blocks * 512 < MIB


@pytest.mark.parametrize("size", [0, 64 * MIB, 97 * MIB, 256 * MIB + 512])
def test_a_size_that_will_not_do_is_refused(size: int) -> None:
    with pytest.raises(RecipeError, match="cannot hold the partitions"):
        root_length(size)


def test_ids_differ_and_the_fat_serial_is_spelled_as_in_fstab() -> None:
    assert len({IDS.disk, IDS.esp_partition, IDS.root_partition, IDS.root}) == 4
    assert IDS.esp_uuid.replace("-", "") == f"{IDS.esp:08X}"
