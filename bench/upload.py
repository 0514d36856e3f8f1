"""An upload of a 10 GiB disk with 2 GiB of data: memory of both sides, time against a plain local copy."""

from __future__ import annotations

import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.command import VMSTAMP
from bench.figure import Figure, timed
from bench.servers import peak_mib
from vmstamp.run import Process, run, spawn

GIB = 1 << 30
DISK_SIZE = 10 * GIB
DATA_SIZE = 2 * GIB
RUN_LENGTH = 16 << 20  # bytes of data in one piece, spread over the disk
SERVER_LIMIT_MIB = 200
COMMAND_LIMIT_MIB = 150
SAMPLE = 0.05  # seconds


def measure() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory(prefix="vmstamp-bench-") as name:
        directory = Path(name)
        disk = directory / "disk.raw"
        _make_disk(disk)
        copy_seconds = timed(
            lambda: run(["qemu-img", "convert", "-f", "raw", "-O", "raw", disk, directory / "copy.raw"])
        )
        (directory / "copy.raw").unlink()
        env = {"VMSTAMP_HOME": str(directory / "home"), "VMSTAMP_ARM_PORT": "0", "VMSTAMP_BLOB_PORT": "0"}
        run([VMSTAMP, "up"], env=env)
        try:
            server = int(re.search(r'"pid":\s*(\d+)', (directory / "home" / "stamp.json").read_text())[1])  # type: ignore[index]
            seconds, command_peak = _upload(disk, directory / "upload.log", env)
            server_peak = peak_mib(server)
        finally:
            run([VMSTAMP, "down"], env=env)
    yield Figure("upload of 10 GiB with 2 GiB of data", seconds, "s", None, "one run, verified")
    yield Figure("upload / qemu-img convert raw to raw", seconds / copy_seconds, "x", None, "one run each")
    yield Figure("server's peak memory in an upload", server_peak, "MiB", SERVER_LIMIT_MIB, "VmHWM")
    yield Figure(
        "command's peak memory in an upload", command_peak, "MiB", COMMAND_LIMIT_MIB, "VmHWM, sampled"
    )


def _make_disk(path: Path) -> None:
    """A raw disk whose data lies in pieces all over it; the bytes do not compress."""
    piece = random.Random(7).randbytes(RUN_LENGTH)
    step = DISK_SIZE // (DATA_SIZE // RUN_LENGTH)
    with path.open("wb") as file:
        file.truncate(DISK_SIZE)
        for offset in range(0, DISK_SIZE, step):
            file.seek(offset)
            file.write(piece)


def _upload(disk: Path, log: Path, env: dict[str, str]) -> tuple[float, float]:
    start = time.perf_counter()
    process = spawn([str(VMSTAMP), "upload", str(disk)], output=log, env=env)
    peaks: list[float] = [0.0]
    watcher = threading.Thread(target=_watch, args=(process, peaks))
    watcher.start()
    status = process.wait()
    watcher.join()
    if status != 0:
        sys.exit(f"the upload failed: {log.read_text()}")
    return time.perf_counter() - start, max(peaks)


def _watch(process: Process, peaks: list[float]) -> None:
    while process.poll() is None:
        peaks.append(peak_mib(process.pid))
        time.sleep(SAMPLE)
