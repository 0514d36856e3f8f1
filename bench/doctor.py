"""`vmstamp doctor` of the Debian disk as a whole process: time and peak memory in three formats.

Against virt-inspector of libguestfs where it is installed, which boots a kernel of its own to look.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench import sources
from bench.command import VMSTAMP
from bench.convert import run_measured
from bench.figure import Figure
from bench.scale import Scale
from vmstamp import disk

FORMATS = {"raw": "raw", "VHDX": "vhdx", "qcow2": "qcow2"}
SECONDS_LIMIT, MEMORY_LIMIT_MIB = 2.0, 250


def measure(scale: Scale) -> Iterator[Figure]:
    built = sources.find_debian()
    if built is None:
        yield Figure("vmstamp doctor", 0, "", None, "not measured: vmstamp image build debian-12")
        return
    with sources.directory() as directory:
        for name, format in FORMATS.items():
            path = directory / f"debian.{format}"
            with disk.open(built) as opened:
                disk.convert(opened, path, format)
            yield from _doctor(name, path, max(scale.runs, 3))
            if format == "qcow2":
                yield _virt_inspector(path)
            path.unlink()


def _doctor(name: str, path: Path, runs: int) -> Iterator[Figure]:
    done = [run_measured([VMSTAMP, "doctor", path]) for _ in range(runs)]
    seconds = statistics.median(seconds for seconds, _ in done)
    peak = max(kib for _, kib in done) / 1024
    yield Figure(f"vmstamp doctor, Debian as {name}", seconds, "s", SECONDS_LIMIT, f"median of {runs}")
    yield Figure(f"vmstamp doctor, Debian as {name}, peak memory", peak, "MiB", MEMORY_LIMIT_MIB, "largest")


def _virt_inspector(path: Path) -> Figure:
    program = shutil.which("virt-inspector")
    if program is None:
        return Figure("virt-inspector, Debian as qcow2", 0, "", None, "not measured: libguestfs-tools")
    start = time.perf_counter()
    run_measured([program, "-a", path])
    return Figure("virt-inspector, Debian as qcow2", time.perf_counter() - start, "s", None, "once")
