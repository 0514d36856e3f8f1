"""qcow2, VMDK and VDI disks, read through `qemu-nbd`; nothing is copied.

The file's own references to other files are read by us (qcow2.py, vmdk.py, vdi.py) before QEMU sees it:
a disk from a stranger must not make us read files that its owner did not name. QEMU is told every file
and its format; it probes nothing and follows nothing. What lies behind the end of a cut file QEMU reads
as zeros without a word, so cut files are found by us too.

One `qemu-nbd` serves a disk, on a unix socket in a directory that is gone as soon as all connections
stand. It ends with its last connection, so it is not left behind even when we are killed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue

from vmstamp.disk import qcow2, vdi, vmdk
from vmstamp.disk.base import Disk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.nbd import NbdConnection
from vmstamp.disk.neighbours import Node, Told, inherited, node_name
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, merge
from vmstamp.run import Process, spawn

CONNECTIONS = 4  # requests in flight; QEMU decompresses them side by side
START_TIMEOUT = 20.0  # seconds until qemu-nbd answers


class ForeignDisk(Disk):
    """A disk that QEMU reads for us. Owns a qemu-nbd process and its connections.

    Each read takes a free connection, or waits for one.
    """

    def __init__(self, file: ImageFile, name: str, told: Told) -> None:
        """`file` may be closed afterwards."""
        self.path = file.path
        self.format = name
        self.subformat = told.subformat
        self.block_size = told.block_size
        self._server = Server(
            told.node, file.path, connections=CONNECTIONS, writable=False, pass_fds=inherited(file)
        )
        self._free: LifoQueue[NbdConnection] = LifoQueue()
        for connection in self._server.connections:
            self._free.put(connection)
        self.size = self._server.connections[0].size

    @property
    def process_id(self) -> int:
        """The qemu-nbd's."""
        return self._server.process.pid

    def _read(self, offset: int, length: int) -> bytes:
        connection = self._free.get()
        try:
            return connection.read(offset, length)
        finally:
            self._free.put(connection)

    def extents(self) -> Iterator[Extent]:
        return merge(self._server.connections[0].data_ranges())

    def close(self) -> None:
        self._server.close(kill=True)  # it only reads: there is nothing that it could lose


class Server:
    """A qemu-nbd and all the connections that it takes; it ends with the last of them."""

    def __init__(
        self, node: Node, path: Path, *, connections: int, writable: bool, pass_fds: tuple[int, ...] = ()
    ) -> None:
        self.connections: list[NbdConnection] = []
        directory = Path(tempfile.mkdtemp(prefix="vmstamp-nbd-"))
        try:
            address, log = directory / "s", directory / "log"
            self.process = spawn(
                [
                    "qemu-nbd",
                    *([] if writable else ["--read-only"]),
                    f"--shared={connections}",
                    f"--socket={address}",
                    node_name(node),
                ],
                output=log,
                pass_fds=pass_fds,
            )
            try:
                for _ in range(connections):
                    self.connections.append(_connect(address, self.process, log, path))
            except BaseException:
                self.close(kill=True)
                raise
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def close(self, *, kill: bool) -> None:
        """Take leave. Without `kill` the server writes out what it holds, and is waited for."""
        for connection in self.connections:
            connection.close()
        if kill:
            self.process.kill()
        self.process.wait()


@contextmanager
def serve(node: Node, path: Path, *, connections: int, writable: bool) -> Iterator[list[NbdConnection]]:
    """Connections to a qemu-nbd for `node`; errors name `path`. On an error in the block it is killed."""
    server = Server(node, path, connections=connections, writable=writable)
    try:
        yield server.connections
    except BaseException:
        server.close(kill=True)
        raise
    server.close(kill=False)


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


def open_foreign(file: ImageFile, name: str, follow: bool = False) -> Disk:
    """The qcow2, vmdk or vdi disk in `file`, which is closed. Raises DiskError and ProgramMissing.

    Other files that it refers to are read only with `follow`; a VMDK's flat extents beside it always.
    """
    try:
        return ForeignDisk(file, name, NODES[name](file, follow))
    finally:
        file.close()


NODES = {"qcow2": qcow2.node, "vmdk": vmdk.node, "vdi": vdi.node}
