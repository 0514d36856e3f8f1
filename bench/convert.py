"""Disk conversions as whole processes, against qemu-img and cp; opening a large VHDX; `disk info`.

On the scattered disk (10 GiB, 2 GiB of data in runs of 64 KiB to 1 MiB) and, when one was built before, on
the Debian disk. Runs alternate, each round begins with another program, and a figure is the median of the
ratios of its pairs. Outputs are removed and the file systems synced between runs, outside of the timing,
because the kernel throttles whoever finds its cache full of unwritten pages; a removed output's pages need
not be written. The first round does not count: where the host of a virtual machine must find the memory
first, it takes six times as long.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import sources
from bench.command import VMSTAMP
from bench.figure import Figure
from bench.scale import Scale
from vmstamp import disk
from vmstamp.disk.memory import MemoryDisk

FORMATS = ("raw", "vhd-fixed", "vhd-dynamic", "vhdx")
QEMU = {"raw": "raw", "vhd-fixed": "vpc", "vhd-dynamic": "vpc", "vhdx": "vhdx"}
# Without force_size QEMU rounds the disk up to a geometry.
OPTIONS = {"vhd-fixed": ["-o", "subformat=fixed,force_size=on"], "vhd-dynamic": ["-o", "force_size=on"]}
QEMU_LIMIT, CP_LIMIT = 0.75, 1.25
MEMORY_LIMIT_MIB = 100

Words = list[str | Path]


def measure(scale: Scale) -> Iterator[Figure]:
    with sources.directory() as directory:
        shortage = sources.find_shortage(directory, len(FORMATS) * scale.data + scale.size)
        if shortage is not None:
            yield shortage
            return
        raw = directory / "scattered.raw"
        sources.scatter(raw, scale)
        files = _in_all_formats(raw)
        yield from _conversions("scattered", files, scale.runs)
        yield _opening(directory)
        info = [run_measured([VMSTAMP, "disk", "info", files["vhdx"]])[0] for _ in range(max(scale.runs, 5))]
        yield Figure("vmstamp disk info, whole process", statistics.median(info), "s", 0.3, "median")
        for path in files.values():
            path.unlink()
        yield from _debian(directory, scale.runs)


def _debian(directory: Path, runs: int) -> Iterator[Figure]:
    built = sources.find_debian()
    if built is None:
        yield Figure("conversions of the Debian disk", 0, "", None, "not measured: vmstamp build debian-12")
        return
    raw = directory / "debian.raw"
    with disk.open(built) as opened:
        disk.convert(opened, raw, "raw")
    yield from _conversions("Debian", _in_all_formats(raw), runs)


def _in_all_formats(raw: Path) -> dict[str, Path]:
    files = {to: raw if to == "raw" else raw.with_suffix(f".{to}") for to in FORMATS}
    with disk.open(raw) as opened:
        for to in FORMATS[1:]:
            disk.convert(opened, files[to], to)
    return files


def _conversions(label: str, files: Mapping[str, Path], runs: int) -> Iterator[Figure]:
    target = files["raw"].with_name("target")
    peak = 0
    for source, path in files.items():
        for to in FORMATS:
            if to == source:
                continue
            seconds, kib = _race(_commands(source, path, to, target), target, runs)
            peak = max(peak, kib)
            yield from _ratios(f"{label}: {source} to {to}", seconds)
    yield Figure(
        f"{label}: conversions, peak memory", peak / 1024, "MiB", MEMORY_LIMIT_MIB, "most of all runs"
    )


def _commands(source: str, path: Path, to: str, target: Path) -> dict[str, Words]:
    """What competes; ours first."""
    formats = ["-f", QEMU[source], "-O", QEMU[to], *OPTIONS.get(to, [])]
    return {
        "ours": [VMSTAMP, "disk", "convert", path, target, "--to", to],
        "qemu -W -m 8": ["qemu-img", "convert", *formats, "-W", "-m", "8", path, target],
        "qemu": ["qemu-img", "convert", *formats, path, target],
        "cp": ["cp", "--sparse=auto", path, target],
    }


def _race(commands: Mapping[str, Words], target: Path, runs: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of each command's runs, in turns, and the most memory in KiB that ours took."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    peak = 0
    order = list(commands.items())
    for number in range(1 + runs):
        first = number % len(order)
        for name, command in order[first:] + order[:first]:
            os.sync()
            took, kib = run_measured(command)
            target.unlink()
            if number:
                seconds[name].append(took)
            peak = max(peak, kib if name == "ours" else 0)
    return seconds, peak


def _ratios(name: str, seconds: Mapping[str, list[float]]) -> Iterator[Figure]:
    qemu = min((seconds["qemu -W -m 8"], seconds["qemu"]), key=statistics.median)
    for peer, theirs, limit in (("qemu-img", qemu, QEMU_LIMIT), ("cp", seconds["cp"], CP_LIMIT)):
        ratio = statistics.median(a / b for a, b in zip(seconds["ours"], theirs, strict=True))
        yield Figure(f"{name} / {peer}", ratio, "x", limit, f"{_span(seconds['ours'])} s; {_span(theirs)} s")


def _span(seconds: list[float]) -> str:
    """The median, and between what the runs lay: how much the figure is to be trusted."""
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})"


def _opening(directory: Path) -> Figure:
    path = directory / "large.vhdx"
    disk.convert(MemoryDisk(64 << 40, {}), path)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        disk.open(path).close()
        times.append(time.perf_counter() - started)
    path.unlink()
    return Figure("opening a VHDX of 64 TiB", 1000 * statistics.median(times), "ms", 50, "median of 15")


def run_measured(words: Words) -> tuple[float, int]:
    """Run a command: its seconds, and the KiB of memory it had at most."""
    command = [str(word) for word in words]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    started = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    took = time.perf_counter() - started
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return took, usage.ru_maxrss
