"""Finds and ends what a killed server left running: QEMU, dnsmasq, slirp4netns and namespace holders.

A process is one of a home's own when one of the words of its command line names a path under the home's
machines or networks directory and its program is one that we start. Nothing else is touched.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PROGRAMS = ("qemu-system-", "dnsmasq", "slirp4netns", "holder.py", "nsenter", "unshare")
# The program is among the first words: `python -I -S holder.py`, `nsenter ... -- dnsmasq`.
PROGRAM_WORDS = 8
END_TIMEOUT = 10.0  # seconds


def find_leftovers(*directories: Path) -> list[int]:
    """The ids of our processes whose command line names a path in one of the directories."""
    marks = [os.fsencode(directory.absolute()) + b"/" for directory in directories]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        names = [os.path.basename(os.fsdecode(word)) for word in words[:PROGRAM_WORDS]]  # noqa: PTH119
        ours = any(name.startswith(program) for name in names for program in PROGRAMS)
        if ours and any(mark in word + b"/" for mark in marks for word in words):
            found.append(int(entry.name))
    return found


def end_leftovers(*directories: Path) -> list[int]:
    """Kill them and wait until they are gone; their ids."""
    found = find_leftovers(*directories)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    deadline = time.monotonic() + END_TIMEOUT
    while find_leftovers(*directories) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
