"""The tiny disk as others' tools see it: sfdisk, e2fsck, mtools, qemu-img."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmstamp.paths import Home
from vmstamp.recipes import build
from vmstamp.recipes.layout import ESP_START, ROOT_START
from vmstamp.run import find_program, run


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    home = Home(directory / "home")
    build("tiny", None, home, lambda step, share: None)
    run(["qemu-img", "check", next(home.recipes.glob("tiny-*.vhdx"))])
    return build("tiny", directory / "tiny.raw", home, lambda step, share: None)


def test_sfdisk_finds_both_partitions_and_no_fault(raw: Path) -> None:
    table = json.loads(run(["sfdisk", "--json", raw]).stdout)["partitiontable"]
    assert table["label"] == "gpt"
    assert [(part["start"] * 512, part["type"].lower()) for part in table["partitions"]] == [
        (ESP_START, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
        (ROOT_START, "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
    ]
    assert b"No errors detected" in run(["sfdisk", "--verify", raw]).stdout


def test_e2fsck_finds_nothing_to_mend(raw: Path) -> None:
    find_program("e2fsck")
    run(["e2fsck", "-f", "-n", f"{raw}?offset={ROOT_START}"])


def test_files_are_roots(raw: Path) -> None:
    listed = run(["debugfs", "-R", "stat /etc/os-release", f"{raw}?offset={ROOT_START}"]).text
    assert "User:     0   Group:     0" in listed


def test_mtools_reads_the_efi_partition(raw: Path) -> None:
    listed = run(["mdir", "-i", f"{raw}@@{ESP_START}", "-b", "-/", "::"]).text
    assert {"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/debian/grub.cfg", "::/vmlinuz", "::/initrd.img"} <= set(
        listed.split()
    )
