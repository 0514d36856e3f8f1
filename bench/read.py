"""A sequential read of everything, in pieces of 4 MiB, against libvhdi and dissect.hypervisor.

The files are as qemu-img writes them; they lie in the cache. Each reader has a process of its own, because
how fast memory comes depends on what a process had before. First all read the first GiB, must read the same
bytes there, and the faster peer is found: on blocks with a bitmap libvhdi takes a hundred times as long.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyvhdi

from bench import sources
from bench.figure import Figure
from bench.scale import Scale
from vmstamp import disk
from vmstamp.run import run

PIECE = 4 << 20
RUNS_AT_MOST = 3

PROVED = 1 << 30  # bytes that the readers are compared on, and the faster peer is found by


@dataclass(frozen=True)
class Kind:
    """A kind of file: qemu-img's format and options, what dissect calls it, our time at most in theirs."""

    name: str
    format: str
    options: str
    dissect: str
    limit: float


SCATTERED = (
    Kind("dynamic VHD", "vpc", "force_size=on", "vhd", 1 / 3),
    Kind("dynamic VHDX", "vhdx", "subformat=dynamic", "vhdx", 1 / 8),
    Kind("fixed VHD", "vpc", "subformat=fixed,force_size=on", "vhd", 1),
    Kind("fixed VHDX", "vhdx", "subformat=fixed", "vhdx", 1),
)
DEBIAN = (
    Kind("dynamic VHD", "vpc", "force_size=on", "vhd", 1),
    Kind("dynamic VHDX", "vhdx", "subformat=dynamic", "vhdx", 1),
)


def measure(scale: Scale) -> Iterator[Figure]:
    runs = min(scale.runs, RUNS_AT_MOST)
    with sources.directory() as directory:
        shortage = sources.find_shortage(directory, scale.data + scale.size)
        if shortage is not None:
            yield shortage
            return
        raw = directory / "disk.raw"
        sources.scatter(raw, scale)
        for kind in SCATTERED:
            yield _race("scattered", raw, kind, runs)
        raw.unlink()
        built = sources.find_debian()
        if built is None:
            yield Figure("reading the Debian disk", 0, "", None, "not measured: vmstamp build debian-12")
            return
        with disk.open(built) as opened:
            disk.convert(opened, raw, "raw")
        for kind in DEBIAN:
            yield _race("Debian", raw, kind, runs)


def _race(label: str, raw: Path, kind: Kind, runs: int) -> Figure:
    path = raw.with_suffix(f".{kind.dissect}")
    run(["qemu-img", "convert", "-f", "raw", "-O", kind.format, "-o", kind.options, raw, path])
    peers = ["libvhdi", "dissect"] if _has_dissect() else ["libvhdi"]
    tried = {name: _read(name, kind, path, PROVED) for name in ("ours", *peers)}
    if len({checksum for _, checksum in tried.values()}) > 1:
        raise RuntimeError(f"{label}, {kind.name}: readers read different bytes: {tried}")
    fastest = min(peers, key=lambda name: tried[name][0])
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(_read("ours", kind, path)[0])
        theirs.append(_read(fastest, kind, path)[0])
    path.unlink()
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    how = f"{statistics.median(ours):.2f} s; {statistics.median(theirs):.2f} s; median of {runs}"
    if "dissect" not in peers:
        how += "; dissect.hypervisor is not installed: make bench"
    return Figure(f"{label}: reading a {kind.name} / {fastest}", ratio, "x", kind.limit, how)


def _has_dissect() -> bool:
    return bool(importlib.util.find_spec("dissect") and importlib.util.find_spec("dissect.hypervisor"))


def _read(name: str, kind: Kind, path: Path, length: int = 0) -> tuple[float, int]:
    """Seconds of a reader in a process of its own; with `length` of so many bytes, and their checksum."""
    root = Path(__file__).parents[1]
    said = run(
        [sys.executable, "-m", "bench.read", name, kind.dissect, path, str(length)],
        env={"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
    )
    seconds, checksum = said.stdout.split()
    return float(seconds), int(checksum)


def main(name: str, format: str, path: Path, length: int) -> None:
    """What `_read` runs: print the seconds, and the checksum of the first `length` bytes."""
    reader = READERS[name]
    next(reader(format, path))  # what is imported and opened once does not count
    checksum = position = 0
    started = time.perf_counter()
    for piece in reader(format, path):
        if length:
            checksum, position = zlib.crc32(piece, checksum), position + len(piece)
            if position >= length:
                break
        del piece  # before the next is read: whoever drops what was read meets the allocator at its worst
    print(time.perf_counter() - started, checksum)


def _read_by_us(format: str, path: Path) -> Iterator[bytes]:
    with disk.open(path) as opened:
        for at in range(0, opened.size, PIECE):
            yield opened.read(at, min(PIECE, opened.size - at))


def _read_by_libvhdi(format: str, path: Path) -> Iterator[bytes]:
    file = pyvhdi.file()
    file.open(str(path))
    size = file.get_media_size()
    for at in range(0, size, PIECE):
        yield file.read_buffer_at_offset(min(PIECE, size - at), at)
    file.close()


def _read_by_dissect(format: str, path: Path) -> Iterator[bytes]:
    module = importlib.import_module(f"dissect.hypervisor.disk.{format}")
    with path.open("rb") as file:
        stream = getattr(module, format.upper())(file)
        for at in range(0, stream.size, PIECE):
            yield stream.read(min(PIECE, stream.size - at))


READERS: dict[str, Callable[[str, Path], Iterator[bytes]]] = {
    "ours": _read_by_us,
    "libvhdi": _read_by_libvhdi,
    "dissect": _read_by_dissect,
}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
