"""Finds and ends what a killed server left running: QEMU, dnsmasq, slirp4netns and namespace holders.

A process is a home's own when its program is one that we start and one word of its command line names a
path under the home's machines or networks directory. Nothing else is touched.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = re.compile(rb"(?:.*/)?(?:qemu-system-\w+|dnsmasq|slirp4netns)")
HOLDER = b"/vmstamp/machine/holder.py"
# What may stand before a path in a word: `--conf-file=/x`, `file,path=/x`, `"filename": "/x`.
BEFORE_PATH = rb'(?:^|[=,:"\s])'
END_TIMEOUT = 10.0  # seconds


def is_ours(words: Sequence[bytes], directories: Sequence[Path]) -> bool:
    """Whether a command line is of a program that we start for something in one of the directories. Pure."""
    if not words or not (PROGRAMS.fullmatch(words[0]) or any(word.endswith(HOLDER) for word in words[1:5])):
        return False
    paths = b"|".join(re.escape(os.fsencode(directory)) for directory in directories)
    mark = re.compile(BEFORE_PATH + b"(?:" + paths + b")/")
    return any(mark.search(word) for word in words)


def find_leftovers(*directories: Path) -> list[int]:
    """The ids of our processes whose command line names a path in one of the directories."""
    absolute = [directory.absolute() for directory in directories]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if is_ours(words, absolute):
            found.append(int(entry.name))
    return found


def end_leftovers(*directories: Path) -> list[int]:
    """Kill them and wait until they are gone; their ids.

    What a guest's QEMU had written is in the host's page cache, so killing loses none of it.
    """
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
