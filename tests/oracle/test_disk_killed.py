"""A conversion that is killed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from vmstamp.run import spawn

KILLED = """
import os, signal, sys
from pathlib import Path
from vmstamp.disk.convert import convert
from vmstamp.disk.memory import MemoryDisk

def die(length):
    os.kill(os.getpid(), signal.SIGKILL)

convert(MemoryDisk(9 << 20, {0: b"a", 8 << 20: b"b"}), Path(sys.argv[1]), sys.argv[2], die)
"""


@pytest.mark.parametrize("to", ["raw", "vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed"])
def test_sigkill_in_a_conversion_leaves_the_old_file_and_nothing_beside(tmp_path: Path, to: str) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    process = spawn([sys.executable, "-c", KILLED, str(path), to])
    assert process.wait() == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
