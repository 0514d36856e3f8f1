"""The Blob service against Azurite, and our commands against azcopy, in one run, paired, medians.

The disk has 3 GiB with 535 MiB of data in runs of 64 KiB to 8 MiB. Servers keep their data on one file
system; it is synced between runs, outside of the timing. The first round does not count, but its download is
compared with the disk. What a server spends is the user and system time of its processes in /proc.
"""

from __future__ import annotations

import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from bench import sources
from bench.command import VMSTAMP
from bench.figure import Figure, timed
from bench.pages import PageClient
from bench.scale import GIB, MIB, WHOLE, Scale
from bench.servers import PEERS, Server, azurite, ours, peak_mib
from bench.wire import relaying
from vmstamp import disk
from vmstamp.run import Process, run, spawn

LONGEST = 8 * MIB  # bytes of a run of data
WRITES, WRITE = 10_000, 512
RANGES, GRAIN = 100_000, 4096
HUGE = 64 * GIB
SERVER_MIB, CLIENT_MIB = 200, 150
SAMPLE = 0.02  # seconds

Words = list[str | Path]


@dataclass(frozen=True)
class Spent:
    """What some work took: seconds of wall time and of processors."""

    wall: float
    cpu: float


def measure(scale: Scale) -> Iterator[Figure]:
    if scale.size == WHOLE.size:
        scale = replace(scale, size=3 * GIB, data=535 * MIB)
    with sources.directory() as directory:
        shortage = sources.find_shortage(directory, 10 * scale.data + 2 * scale.size)
        if shortage is not None:
            yield shortage
            return
        raw = directory / "disk.raw"
        sources.scatter(raw, scale, LONGEST)
        many = _alternating(directory / "many.raw")
        with ExitStack() as stack:
            our_server = stack.enter_context(ours(directory / "ours", {"many": many}))
            client = stack.enter_context(closing(PageClient(our_server)))
            with azurite(directory / "azurite") as theirs, closing(PageClient(theirs)) as other:
                other.create_container()
                sides = ((our_server, client), (theirs, other))
                yield from _transfers(sides, raw, scale.runs)
                yield _scattered(client, other, scale)
            yield from _copies(our_server, client, raw, scale.runs)
            yield _page_ranges(client)
            yield from _commands(our_server, raw, scale.runs)
            yield from _huge(our_server, directory)
            yield Figure("server's peak memory, after all", our_server.peak_mib(), "MiB", SERVER_MIB, "VmHWM")


Sides = tuple[tuple[Server, PageClient], tuple[Server, PageClient]]


def _transfers(sides: Sides, raw: Path, runs: int) -> Iterator[Figure]:
    """Both sides' uploads and downloads by turns."""
    ups: list[list[Spent]] = [[], []]
    downs: list[list[Spent]] = [[], []]
    for number in range(runs + 1):
        for side in (0, 1) if number % 2 else (1, 0):
            server, client = sides[side]
            os.sync()
            name = f"disk-{number}.vhd"
            up = _spent(server, partial(client.upload, name, raw))
            down = _download(server, client, name, raw if number == 0 else None)
            if number:
                ups[side].append(up)
                downs[side].append(down)
            if number < runs:
                client.delete(name)
    for label, found in (("upload", ups), ("download", downs)):
        yield from _pairs(
            f"the same client's {label}", found[0], found[1], ("Azurite", "wall", "server's CPU")
        )


def _download(server: Server, client: PageClient, name: str, compared: Path | None) -> Spent:
    if compared is None:
        return _spent(server, lambda: client.download(name, lambda offset, data: None))
    with compared.open("rb") as file:
        held = 0

        def take(offset: int, data: bytes) -> None:
            nonlocal held
            held += len(data)
            if os.pread(file.fileno(), len(data), offset) != data:
                raise RuntimeError(f"{name} of {server.endpoint} has other bytes at {offset}")

        spent = _spent(server, lambda: client.download(name, take))
    if held < _data(compared):
        raise RuntimeError(f"{name} of {server.endpoint} has {held} bytes of data, the disk more")
    return spent


def _pairs(
    label: str,
    ours: list[Spent],
    theirs: list[Spent],
    names: tuple[str, str, str],
    limits: tuple[float, float] = (0.7, 0.7),
) -> Iterator[Figure]:
    """Wall and processor time of ours in theirs: medians of the pairs' ratios."""
    peer, wall, cpu = names
    for what, limit, values in (
        (wall, limits[0], [(a.wall, b.wall) for a, b in zip(ours, theirs, strict=True)]),
        (cpu, limits[1], [(a.cpu, b.cpu) for a, b in zip(ours, theirs, strict=True)]),
    ):
        ratio = statistics.median(a / b for a, b in values)
        one, other = (statistics.median(column) for column in zip(*values, strict=True))
        how = f"{one:.2f} s; {other:.2f} s; median of {len(values)}"
        yield Figure(f"{label} / {peer}, {what}", ratio, "x", limit, how)


def _spent(server: Server, work: Callable[[], object]) -> Spent:
    """Wall time of some work and processor time of the server in it."""
    before = server.cpu()
    wall = timed(work)
    return Spent(wall, server.cpu() - before)


def _scattered(client: PageClient, other: PageClient, scale: Scale) -> Figure:
    offsets = random.Random(3).sample(range(0, scale.size, WRITE), WRITES)
    data = random.Random(4).randbytes(WRITE)
    pairs = []
    for number in range(scale.runs):
        seconds = []
        for side in (client, other):
            side.create(f"scattered-{number}.vhd", scale.size)
            os.sync()
            seconds.append(timed(partial(side.scatter, f"scattered-{number}.vhd", offsets, data)))
        pairs.append(seconds)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    one, other_one = (statistics.median(column) for column in zip(*pairs, strict=True))
    how = f"{one:.2f} s; {other_one:.2f} s; median of {scale.runs}"
    return Figure(f"{WRITES} scattered Put Page of {WRITE} / Azurite", ratio, "x", 1 / 3, how)


def _copies(server: Server, client: PageClient, raw: Path, runs: int) -> Iterator[Figure]:
    """A copy shares the source's bytes; the first write to it moves them."""
    source, plain = f"disk-{runs}.vhd", raw.with_name("cp.raw")
    shared, ratios = [], []
    for number in range(runs + 1):
        name = f"copy-{number}.vhd"
        os.sync()
        copied = timed(partial(client.copy, source, name, server.url(source)))
        moved = timed(partial(client.put, name, 0, b"\xa5" * WRITE))
        client.delete(name)
        os.sync()
        cp = timed(partial(run, ["cp", raw, plain]))
        plain.unlink()
        if number:
            shared.append(copied)
            ratios.append(moved / cp)
    how = f"median of {runs}"
    yield Figure("Copy Blob of the disk", statistics.median(shared), "s", 0.2, how)
    yield Figure("first write to a copy / cp", statistics.median(ratios), "x", 1.25, f"{how} pairs")
    yield Figure(
        "server's peak memory in transfers and copies", server.peak_mib(), "MiB", SERVER_MIB, "VmHWM"
    )


def _alternating(path: Path) -> Path:
    """A file whose every other block of 4096 bytes is a hole."""
    with path.open("wb") as file:
        file.truncate(2 * RANGES * GRAIN)
        for number in range(RANGES):
            os.pwrite(file.fileno(), b"\xa5" * GRAIN, 2 * number * GRAIN)
    return path


def _page_ranges(client: PageClient) -> Figure:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        found = client.count_ranges("many")
        seconds.append(time.perf_counter() - start)
        if found != RANGES:
            raise RuntimeError(f"Get Page Ranges gave {found} ranges, expected {RANGES}")
    return Figure(f"Get Page Ranges, {RANGES} ranges", statistics.median(seconds), "s", 0.3, "median of 5")


# -- our commands against azcopy


def _commands(server: Server, raw: Path, runs: int) -> Iterator[Figure]:
    vhdx, fixed, back = (raw.with_name(name) for name in ("disk.vhdx", "fixed.vhd", "back.vhd"))
    with disk.open(raw) as opened:
        disk.convert(opened, vhdx, "vhdx")
    ups: list[list[Spent]] = [[], []]
    downs: list[list[Spent]] = [[], []]
    allocated = 0
    for number in range(runs + 1):
        works: tuple[tuple[int, list[Words]], ...] = (
            (0, [[VMSTAMP, "upload", vhdx, server.url("ours.vhd"), "--overwrite"]]),
            (1, [_to_fixed(vhdx, fixed), _azcopy(fixed, server.url("theirs.vhd"), "LocalBlob")]),
        )
        for side, commands in works if number % 2 else reversed(works):
            os.sync()
            ups[side].append(_client(server, raw.parent, commands))
        fixed.unlink()
        fetches: tuple[tuple[int, list[Words]], ...] = (
            (0, [[VMSTAMP, "download", server.url("ours.vhd"), back]]),
            (1, [_azcopy(server.url("ours.vhd"), back, "BlobLocal")]),
        )
        for side, commands in fetches if number % 2 else reversed(fetches):
            os.sync()
            downs[side].append(_client(server, raw.parent, commands))
            if side == 0:
                allocated = back.stat().st_blocks * 512
            back.unlink()
    names = ("azcopy", "wall", "client's CPU")
    yield from _pairs("vmstamp upload of the VHDX", ups[0][1:], ups[1][1:], names, (0.3, 0.2))
    yield _on_the_wire(server, vhdx, _data(raw))
    downloads = list(_pairs("vmstamp download", downs[0][1:], downs[1][1:], names, (0.35, 0.35)))
    yield downloads[0]
    yield replace(downloads[1], limit=None)
    yield Figure("what a download allocates / data", allocated / _data(raw), "x", 1.02, "st_blocks")


def _to_fixed(vhdx: Path, fixed: Path) -> Words:
    options = "subformat=fixed,force_size=on"
    return ["qemu-img", "convert", "-f", "vhdx", "-O", "vpc", "-o", options, vhdx, fixed]


def _azcopy(source: str | Path, target: str | Path, sides: str) -> Words:
    kind = ["--blob-type", "PageBlob"] if sides == "LocalBlob" else []
    return [PEERS / "azcopy", "copy", source, target, "--from-to", sides, *kind]


def _client(server: Server, directory: Path, commands: list[Words]) -> Spent:
    """Wall and processor time of commands, one after the other, and of what they start and wait for."""
    environment = {
        "HOME": str(directory),
        "AZCOPY_LOG_LOCATION": str(directory / "azcopy"),
        "AZCOPY_JOB_PLAN_LOCATION": str(directory / "azcopy"),
        "AZCOPY_DISABLE_SYSLOG": "true",
    }
    before = os.times()
    wall = timed(lambda: [run(words, env=environment | server.env) for words in commands])
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Spent(wall, cpu)


def _on_the_wire(server: Server, vhdx: Path, data: int) -> Figure:
    """A run of its own, because the relay takes time."""
    parts = urlsplit(server.endpoint)
    assert parts.hostname and parts.port
    with relaying(parts.hostname, parts.port) as relay:
        url = server.url("wire.vhd").replace(parts.netloc, f"{parts.hostname}:{relay.port}")
        run([VMSTAMP, "upload", vhdx, url], env=server.env)
    how = "bytes that a TCP relay took from the client, headers too"
    return Figure("bytes on the wire of vmstamp upload / data", relay.sent / data, "x", 1.02, how)


def _huge(server: Server, directory: Path) -> Iterator[Figure]:
    path = directory / "huge.raw"
    with path.open("wb") as file:
        file.truncate(HUGE)
        for offset in range(0, HUGE, HUGE // 16):
            os.pwrite(file.fileno(), b"\xa5" * MIB, offset)
    log = directory / "huge.log"
    process = spawn([VMSTAMP, "upload", path, server.url("huge.vhd")], output=log, env=server.env)
    with _watching(process) as peaks:
        status = process.wait()
    if status != 0:
        raise RuntimeError(f"the upload failed: {log.read_text()}")
    yield Figure("command's peak memory, 64 GiB sparse disk", max(peaks), "MiB", CLIENT_MIB, "VmHWM, sampled")
    yield Figure(
        "server's peak memory, 64 GiB sparse disk",
        server.peak_mib(),
        "MiB",
        SERVER_MIB,
        "VmHWM since its start",
    )


@contextmanager
def _watching(process: Process) -> Iterator[list[float]]:
    """The peaks of a process that the caller waits for, in MiB, as they grow."""
    peaks = [0.0]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE):
            peaks.append(peak_mib(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


def _data(path: Path) -> int:
    """Bytes of a sparse file that are not in holes."""
    with disk.open(path) as opened:
        return sum(extent.length for extent in opened.extents())
