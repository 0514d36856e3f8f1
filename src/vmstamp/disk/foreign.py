"""qcow2, VMDK and VDI disks, read through `qemu-nbd`; nothing is copied.

The file's own references to other files are read by us (qcow2.py, vmdk.py, vdi.py) before QEMU sees it:
a disk from a stranger must not make us read files that its owner did not name. QEMU is told every file
and its format; it probes nothing and follows nothing. What lies behind the end of a cut file QEMU reads
as zeros without a word, so cut files are found by us too.

One `qemu-nbd` serves a disk, on a unix socket in a directory that is gone as soon as all connections
stand. It ends with its last connection, so it is not left behind even when we are killed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import LifoQueue
from typing import Any

from vmstamp.disk import qcow2, vdi, vmdk
from vmstamp.disk.base import Disk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.nbd import NbdConnection
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, merge
from vmstamp.run import Process, spawn

CONNECTIONS = 4  # requests in flight; QEMU decompresses them side by side
START_TIMEOUT = 20.0  # seconds until qemu-nbd answers


class ForeignDisk(Disk):
    """A disk that QEMU reads for us. Owns a qemu-nbd process and its connections.

    Each read takes a free connection, or waits for one.
    """

    def __init__(self, path: Path, name: str, subformat: str, node: dict[str, Any]) -> None:
        self.path = path
        self.format = name
        self.subformat = subformat
        self._connections: list[NbdConnection] = []
        self._free: LifoQueue[NbdConnection] = LifoQueue()
        self._process = self._serve(node)
        self.size = self._connections[0].size

    @property
    def process_id(self) -> int:
        """The qemu-nbd's."""
        return self._process.pid

    def _serve(self, node: dict[str, Any]) -> Process:
        assert self.path is not None
        directory = Path(tempfile.mkdtemp(prefix="vmstamp-nbd-"))
        process: Process | None = None
        try:
            address, log = directory / "s", directory / "log"
            process = spawn(
                [
                    "qemu-nbd",
                    "--read-only",
                    f"--shared={CONNECTIONS}",
                    f"--socket={address}",
                    "json:" + json.dumps(node),
                ],
                output=log,
            )
            for _ in range(CONNECTIONS):
                connection = _connect(address, process, log, self.path)
                self._connections.append(connection)
                self._free.put(connection)
        except BaseException:
            self._end(process)
            raise
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return process

    def _read(self, offset: int, length: int) -> bytes:
        connection = self._free.get()
        try:
            return connection.read(offset, length)
        finally:
            self._free.put(connection)

    def extents(self) -> Iterator[Extent]:
        return merge(self._connections[0].data_ranges())

    def close(self) -> None:
        self._end(self._process)

    def _end(self, process: Process | None) -> None:
        for connection in self._connections:
            connection.close()
        if process is not None:
            process.kill()  # it only reads: there is nothing that it could lose
            process.wait()


def _connect(address: Path, process: Process, log: Path, path: Path) -> NbdConnection:
    """A connection, once qemu-nbd listens; DiskError with its words when it ends or does not come."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return NbdConnection(address, path)
        except (FileNotFoundError, ConnectionRefusedError, DiskError) as error:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise _refusal(log, path) from error
            time.sleep(0.005)


def _refusal(log: Path, path: Path) -> DiskError:
    said = log.read_text(errors="replace").strip().splitlines()
    reason = said[0].removeprefix("qemu-nbd: ") if said else "qemu-nbd did not answer"
    hint = "a running virtual machine may hold it; stop that first" if "lock" in reason else ""
    return DiskError(path, f"QEMU cannot open it: {reason}", hint=hint)


def open_foreign(file: ImageFile, name: str) -> Disk:
    """The qcow2, vmdk or vdi disk in `file`, which is closed. Raises DiskError and ProgramMissing."""
    try:
        node, subformat = NODES[name](file)
    finally:
        file.close()
    return ForeignDisk(file.path, name, subformat, node)


NODES = {"qcow2": qcow2.node, "vmdk": vmdk.node, "vdi": vdi.node}
