"""`vmstamp doctor` of the Debian disk as a whole process: time and peak memory in three formats.

Against virt-inspector of libguestfs where it is installed, which boots a kernel of its own to look. And
`vmstamp generalize` of a disk that was used, beyond the time in which the command starts: it looks, copies,
edits in User Mode Linux, writes the copy and looks at that again.
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
from vmstamp.guest.edits import Edit, Run, Write
from vmstamp.guest.workshop.rework import rework

FORMATS = {"raw": "raw", "VHDX": "vhdx", "qcow2": "qcow2"}
SECONDS_LIMIT, MEMORY_LIMIT_MIB = 2.0, 250
GENERALIZE_LIMIT = 5.0  # seconds beyond the command's start
# What a machine has that ran: its identity, keys, logs, and a person.
USED: tuple[Edit, ...] = (
    Write("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
    Run(("ssh-keygen", "-A")),
    Run(("useradd", "--create-home", "builder")),
    Write("/home/builder/.bash_history", b"a line\n", 0o600),
    Write("/var/log/syslog", b"a line\n" * 1_000_000),
    Write("/var/lib/cloud/instances/one/user-data.txt", b"#cloud-config\n"),
)


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
            else:
                yield _generalize(name, path, max(scale.runs, 3))
            path.unlink()


def _doctor(name: str, path: Path, runs: int) -> Iterator[Figure]:
    done = [run_measured([VMSTAMP, "doctor", path]) for _ in range(runs)]
    seconds = statistics.median(seconds for seconds, _ in done)
    peak = max(kib for _, kib in done) / 1024
    yield Figure(f"vmstamp doctor, Debian as {name}", seconds, "s", SECONDS_LIMIT, f"median of {runs}")
    yield Figure(f"vmstamp doctor, Debian as {name}, peak memory", peak, "MiB", MEMORY_LIMIT_MIB, "largest")


def _generalize(name: str, path: Path, runs: int) -> Figure:
    used = path.with_name(f"used{path.suffix}")
    output = path.with_name(f"model{path.suffix}")
    with disk.open(path) as opened:
        rework(opened, USED, used)
    start = statistics.median(run_measured([VMSTAMP, "--version"])[0] for _ in range(runs))
    seconds = []
    for _ in range(runs):
        seconds.append(run_measured([VMSTAMP, "generalize", used, "--all-users", "-o", output])[0] - start)
        output.unlink()
    used.unlink()
    how = f"median of {runs}, start of {start:.2f} s taken off"
    return Figure(
        f"vmstamp generalize, used Debian as {name}", statistics.median(seconds), "s", GENERALIZE_LIMIT, how
    )


def _virt_inspector(path: Path) -> Figure:
    program = shutil.which("virt-inspector")
    if program is None:
        return Figure("virt-inspector, Debian as qcow2", 0, "", None, "not measured: libguestfs-tools")
    start = time.perf_counter()
    run_measured([program, "-a", path])
    return Figure("virt-inspector, Debian as qcow2", time.perf_counter() - start, "s", None, "once")
