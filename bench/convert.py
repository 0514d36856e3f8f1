"""Disk conversions against qemu-img and cp, sequential reads against libvhdi, on a scattered disk.

The disk has 10 GiB with 2 GiB of data in runs of 64 KiB to 1 MiB. Runs alternate; outputs are removed and
the file systems synced between them, outside of the timing, because the kernel throttles whoever finds its
cache full of unwritten pages.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyvhdi

from bench.command import VMSTAMP
from bench.figure import Figure
from vmstamp import disk
from vmstamp.disk.memory import MemoryDisk

GIB = 1 << 30
SIZE, DATA = 10 * GIB, 2 * GIB
RUNS = 3
PIECE = 4 << 20
QEMU = {"raw": "raw", "vhd-fixed": "vpc", "vhd-dynamic": "vpc", "vhdx": "vhdx"}
OPTIONS = {"vhd-fixed": ["-o", "subformat=fixed,force_size=on"], "vhd-dynamic": ["-o", "force_size=on"]}


def measure() -> Iterator[Figure]:
    """Every conversion between raw, fixed and dynamic VHD and VHDX; reading; opening; `disk info`."""
    with tempfile.TemporaryDirectory(prefix="vmstamp-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        sources = _sources(directory)
        yield from _conversions(directory, sources)
        yield from _reads(directory, sources["raw"])
        yield _opening(directory)
        info = [_run(VMSTAMP, "disk", "info", sources["vhdx"])[0] for _ in range(5)]
        yield Figure("vmstamp disk info, whole process", statistics.median(info), "s", 0.3, "median of 5")


def _sources(directory: Path) -> dict[str, Path]:
    raw = directory / "source.raw"
    _scatter(raw)
    sources = {"raw": raw}
    with disk.open(raw) as opened:
        for to in ("vhd-fixed", "vhd-dynamic", "vhdx"):
            sources[to] = directory / f"source.{to}"
            disk.convert(opened, sources[to], to)
    return sources


def _scatter(path: Path) -> None:
    """The scattered disk, the same each time."""
    rng = random.Random(1)
    noise = rng.randbytes(1 << 20)
    with path.open("wb") as file:
        file.truncate(SIZE)
        written = at = 0
        while written < DATA and at < SIZE - (5 << 20):
            length = rng.randrange(64 << 10, 1 << 20) // 4096 * 4096
            os.pwrite(file.fileno(), noise[:length], at)
            written += length
            at += length + rng.randrange(64 << 10, 4 << 20) // 4096 * 4096


def _conversions(directory: Path, sources: dict[str, Path]) -> Iterator[Figure]:
    target = directory / "target"
    most = 0
    for source, path in sources.items():
        for to in sources:
            if to == source:
                continue
            ours: list[str | Path] = [VMSTAMP, "disk", "convert", path, target, "--to", to]
            formats = ["-f", QEMU[source], "-O", QEMU[to]]
            peer: list[str | Path] = ["qemu-img", "convert", *formats, *OPTIONS.get(to, [])]
            commands: dict[str, list[str | Path]] = {
                "ours": ours,
                "qemu -W -m 8": [*peer, "-W", "-m", "8", path, target],
                "qemu": [*peer, path, target],
                "cp": ["cp", "--sparse=auto", path, target],
            }
            seconds: dict[str, list[float]] = {label: [] for label in commands}
            for _ in range(RUNS):
                for label, command in commands.items():
                    os.sync()
                    took, memory = _run(*command)
                    seconds[label].append(took)
                    most = max(most, memory if label == "ours" else 0)
                    target.unlink()
            medians = {label: statistics.median(times) for label, times in seconds.items()}
            best = min(medians["qemu"], medians["qemu -W -m 8"])
            how = f"{medians['ours']:.2f} s; qemu {best:.2f} s, cp {medians['cp']:.2f} s; median of {RUNS}"
            yield Figure(f"{source} to {to} / qemu-img", medians["ours"] / best, "x", 0.75, how)
            yield Figure(f"{source} to {to} / cp", medians["ours"] / medians["cp"], "x", 1.25, how)
    yield Figure("conversions, peak memory", most / 1024, "MiB", 100, "the most of all runs")


def _reads(directory: Path, raw: Path) -> Iterator[Figure]:
    """All of a dynamic file that qemu-img wrote, in pieces of 4 MiB."""
    for format, limit in (("vpc", 1 / 3), ("vhdx", 1 / 8)):
        path = directory / f"read.{format}"
        options = OPTIONS["vhd-dynamic"] if format == "vpc" else []
        _run("qemu-img", "convert", "-f", "raw", "-O", format, *options, raw, path)
        ours, theirs = [], []
        for _ in range(RUNS):
            ours.append(_read_by_us(path))
            theirs.append(_read_by_libvhdi(path))
        one, other = statistics.median(ours), statistics.median(theirs)
        how = f"{one:.2f} s; libvhdi {other:.2f} s; median of {RUNS}"
        yield Figure(f"reading a dynamic {format} file / libvhdi", one / other, "x", limit, how)
        path.unlink()


def _read_by_us(path: Path) -> float:
    started = time.perf_counter()
    with disk.open(path) as opened:
        for at in range(0, opened.size, PIECE):
            opened.read(at, min(PIECE, opened.size - at))
    return time.perf_counter() - started


def _read_by_libvhdi(path: Path) -> float:
    started = time.perf_counter()
    file = pyvhdi.file()
    file.open(str(path))
    size = file.get_media_size()
    for at in range(0, size, PIECE):
        file.read_buffer_at_offset(min(PIECE, size - at), at)
    file.close()
    return time.perf_counter() - started


def _opening(directory: Path) -> Figure:
    path = directory / "large.vhdx"
    disk.convert(MemoryDisk(64 << 40, {}), path)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        disk.open(path).close()
        times.append(time.perf_counter() - started)
    return Figure("opening a VHDX of 64 TiB", 1000 * statistics.median(times), "ms", 50, "median of 15")


def _run(*words: str | Path) -> tuple[float, int]:
    """Run a command: its seconds, and the KiB of memory it had at most."""
    command = [str(word) for word in words]
    started = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss
