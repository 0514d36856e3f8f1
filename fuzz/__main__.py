"""Mutates seeds and opens them: only VmstampError may come out, in time and in little memory.

    python -m fuzz [--runs N] [--seed S] [KIND ...]

Half of the mutations get right checksums, so that they are not all refused at the first one. A finding is
printed with the kind, the run and the bytes that were changed, and kept under fuzz/findings; exit status 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from fuzz.seeds import Seed, seeds
from vmstamp import disk
from vmstamp.disk.check import check
from vmstamp.disk.partitions import read_partitions
from vmstamp.errors import VmstampError

FINDINGS = Path(__file__).parent / "findings"
MOST_SECONDS = 2.0
MOST_KIB = 200 * 1024  # more than at the start
SMALL = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000)
LARGE = (0x7FFFFFFF, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)

Change = tuple[int, bytes]


def mutate(rng: random.Random, seed: Seed) -> list[Change]:
    """One to four changes in the seed's structures."""
    changes = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        low, high = rng.choice(seed.ranges)
        at = rng.randrange(low, high)
        kind = rng.randrange(4)
        if kind == 0:
            changes.append((at, rng.randbytes(1)))
        elif kind == 1:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(SMALL + LARGE) & ((1 << 8 * width) - 1)
            aligned = low + (at - low) // width * width
            changes.append((aligned, value.to_bytes(width, rng.choice(("big", "little")))))
        elif kind == 2:
            changes.append((at, rng.randbytes(rng.randrange(1, 16))))
        else:
            changes.append((at, bytes(rng.randrange(1, 32))))
    return changes


def exercise(path: Path, rng: random.Random) -> None:
    """Open, read, list and check what is in `path`; VmstampError is the only way to refuse."""
    with contextlib.suppress(VmstampError), disk.open(path) as opened:
        read_partitions(opened)
        for _ in range(4):
            at = rng.randrange(opened.size)
            opened.read(at, min(rng.choice((1, 512, 70_000)), opened.size - at))
        list(islice(opened.extents(), 1000))
        disk.describe(opened)
    with contextlib.suppress(VmstampError):
        check(path)


def fuzz(name: str, seed: Seed, runs: int, number: int) -> int:
    """`runs` executions of one kind; how many findings."""
    original, status = seed.path.read_bytes(), seed.path.stat()
    findings = 0
    with seed.path.open("r+b", buffering=0) as file:
        for run in range(runs):
            rng = random.Random(f"{number} {name} {run}")
            data = bytearray(original)
            changes = mutate(rng, seed)
            for at, new in changes:
                data[at : at + len(new)] = new[: len(data) - at]
            if rng.random() < 0.5:
                for at, _ in changes:
                    seed.seal(data, at)
            touched = _write_changed(cast(BinaryIO, file), original, data)
            cut = rng.random() < 0.05
            if cut:
                file.truncate(rng.randrange(1, len(original)))
            findings += _one(name, seed, run, rng, changes)
            _restore(cast(BinaryIO, file), original, touched, cut)
    os.utime(seed.path, ns=(status.st_atime_ns, status.st_mtime_ns))  # a child remembers its parent's
    return findings


def _restore(file: BinaryIO, original: bytes, touched: list[tuple[int, int]], cut: bool) -> None:
    for low, high in [(0, len(original))] if cut else touched:
        file.seek(low)
        file.write(original[low:high])


def _write_changed(file: BinaryIO, original: bytes, data: bytearray) -> list[tuple[int, int]]:
    """Write what differs, in pieces of 4 KiB; where that was."""
    touched = []
    for low in range(0, len(original), 4096):
        if data[low : low + 4096] != original[low : low + 4096]:
            file.seek(low)
            file.write(data[low : low + 4096])
            touched.append((low, min(low + 4096, len(original))))
    return touched


def _one(name: str, seed: Seed, run: int, rng: random.Random, changes: list[Change]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    trouble = ""
    try:
        exercise(seed.path, rng)
    except Exception as error:
        trouble = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if seconds > MOST_SECONDS:
        trouble = trouble or f"took {seconds:.1f} s"
    if grown > MOST_KIB:
        trouble = trouble or f"took {grown} KiB more"
    if not trouble:
        return 0
    FINDINGS.mkdir(exist_ok=True)
    (FINDINGS / f"{name}-{run}").write_bytes(seed.path.read_bytes())
    print(f"{name}, run {run}: {trouble}; changes {[(at, new.hex()) for at, new in changes]}", flush=True)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--runs", type=int, default=2000, help="executions of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("kinds", nargs="*")
    options = parser.parse_args()
    findings = 0
    with tempfile.TemporaryDirectory(prefix="vmstamp-fuzz-") as directory:
        for name, seed in seeds(Path(directory)):
            if options.kinds and name not in options.kinds:
                continue
            started = time.monotonic()
            found = fuzz(name, seed, options.runs, options.seed)
            findings += found
            rate = options.runs / (time.monotonic() - started)
            print(f"{name}: {options.runs} executions, {found} findings, {rate:.0f}/s", flush=True)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
