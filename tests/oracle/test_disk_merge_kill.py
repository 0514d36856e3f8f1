"""A merge that is killed at any moment."""

from __future__ import annotations

import random
import select
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.footer import FOOTER_SIZE
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhd_writer import BAT_OFFSET
from vmstamp.run import Process, spawn

MIB = 1024 * 1024
SIZE = 40 * MIB
ROUNDS = 12
MERGING = """
import sys
import vmstamp.disk.rewrite
from vmstamp.cli.commands.disk_make import merge

print("ready", flush=True)
merge.main([sys.argv[1]], standalone_mode=False)
"""


def make_pair(directory: Path, suffix: str) -> None:
    """A parent full of data, and a child whose first block is its own."""
    base, child = directory / f"base{suffix}", directory / f"child{suffix}"
    to = "vhd-dynamic" if suffix == ".vhd" else "vhdx"
    disk.convert(MemoryDisk(SIZE, {0: b"p" * SIZE}), base, to)
    with disk.open(base) as parent:
        create_child(child, parent)
    with child.open("r+b") as file:
        if suffix == ".vhd":
            end = file.seek(-FOOTER_SIZE, 2)
            footer = file.read()
            file.seek(end)
            file.write(b"\xff" * 512 + b"c" * 2 * MIB + footer)
            file.seek(BAT_OFFSET)
            file.write(struct.pack(">I", end // 512))
        else:
            end = file.seek(0, 2)
            file.write(b"c" * 2 * MIB)
            file.seek(3 * MIB)
            file.write(struct.pack("<Q", end | 6))  # fully present


def shown(path: Path) -> bytes:
    with disk.open(path) as opened:
        return opened.read(0, SIZE)


def start_merge(child: Path) -> Process:
    process = spawn([sys.executable, "-c", MERGING, str(child)], stdout_pipe=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def kill_after(process: Process, seconds: float) -> None:
    """SIGKILL, unless it ends before."""
    assert process.stdout is not None
    with process.stdout as output:
        select.select([output], [], [], seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("suffix", [".vhd", ".vhdx"])
def test_a_killed_merge_leaves_all_as_it_was_or_the_merged_parent(tmp_path: Path, suffix: str) -> None:
    pristine, work = tmp_path / "pristine", tmp_path / "work"
    pristine.mkdir()
    make_pair(pristine, suffix)
    base, child = work / f"base{suffix}", work / f"child{suffix}"
    old, merged = shown(pristine / base.name), shown(pristine / child.name)
    assert old != merged

    shutil.copytree(pristine, work)  # with the times: a VHD's child knows its parent's
    process, started = start_merge(child), time.monotonic()
    assert process.wait(30) == 0
    whole = time.monotonic() - started
    assert process.stdout is not None
    process.stdout.close()

    rng = random.Random()
    for _ in range(ROUNDS):
        shutil.rmtree(work)
        shutil.copytree(pristine, work)
        kill_after(start_merge(child), rng.uniform(0, whole * 1.1))
        found = shown(base)
        assert found in (old, merged)
        if found == old:
            assert shown(child) == merged
        beside = {entry.name for entry in work.iterdir()} - {base.name, child.name}
        assert all(name.startswith(f".{base.name}.") for name in beside)
