"""qcow2, VMDK and VDI disks, read through `qemu-nbd`; nothing is copied.

The file's own references to other files are read here, before QEMU sees it: a disk from a stranger must
not make us read files that its owner did not name. A backing file is followed when it lies in the
disk's own directory. QEMU is told every file and its format; it probes nothing and follows nothing.

One `qemu-nbd` serves a disk, on a unix socket in a directory that is gone as soon as all connections
stand. It ends with its last connection, so it is not left behind even when we are killed.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import LifoQueue
from typing import Any

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.nbd import NbdConnection
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, merge
from vmstamp.run import Process, spawn

CONNECTIONS = 4  # requests in flight; QEMU decompresses them side by side
START_TIMEOUT = 20.0  # seconds until qemu-nbd answers
MAX_CHAIN = 16  # backing files that are followed

# qcow2 header: magic, version, backing file offset, its size, cluster bits, size, encryption
QCOW2_HEADER = struct.Struct(">4sIQIIQI")
QCOW2_SPEC = "QEMU docs/interop/qcow2.txt, Header"
QCOW2_CORRUPT, QCOW2_EXTERNAL_DATA = 2, 4  # of incompatible features, u64 at byte 72
# VMDK sparse extent header, little-endian: magic, version, flags, capacity, grain size, descriptor
# offset and size; all in sectors
VMDK_HEADER = struct.Struct("<4sIIQQQQ")
VMDK_SPEC = "VMware Virtual Disk Format 5.0"
VMDK_EXTENT = re.compile(r'^(?:RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)")?', re.MULTILINE)
VMDK_PARENT = re.compile(r"^\s*parentCID\s*=\s*(\w+)", re.MULTILINE | re.IGNORECASE)
MAX_DESCRIPTOR = 1024 * 1024
VDI_TYPES = {1: "dynamic", 2: "fixed"}

MERGE_HINT = "make one whole disk of it first: qemu-img convert -O qcow2 FILE OTHER"
MOVE_HINT = "put both files into one directory, or: qemu-img convert -O qcow2 FILE OTHER"


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
        node, subformat = NODES[name](file, 0)
    finally:
        file.close()
    return ForeignDisk(file.path, name, subformat, node)


def _file_node(path: Path) -> dict[str, Any]:
    return {"driver": "file", "filename": str(path.absolute()), "locking": "auto"}


def _neighbour(path: Path, name: str, what: str) -> Path:
    """The file `name` that `path` refers to; DiskError unless it lies in the same directory."""
    other = path.parent / name
    if re.match(r"^[A-Za-z][A-Za-z0-9+.-]*:", name) or other.resolve().parent != path.parent.resolve():
        raise DiskError(path, f"its {what} {name!r} lies outside of its directory", hint=MOVE_HINT)
    if other.resolve() == path.resolve():
        raise DiskError(path, f"its {what} {name!r} is itself")
    return other


def _qcow2_node(file: ImageFile, depth: int) -> tuple[dict[str, Any], str]:
    head = file.read(0, 104 if file.size >= 104 else min(72, file.size), what="the header", spec=QCOW2_SPEC)
    if len(head) < 72:
        raise DiskError(file.path, "the header is cut off", offset=0, spec=QCOW2_SPEC)
    _, version, backing_at, backing_length, _, _, encryption = QCOW2_HEADER.unpack_from(head)
    incompatible = int.from_bytes(head[72:80], "big") if version >= 3 else 0
    if version not in (2, 3):
        raise DiskError(file.path, f"version {version} of qcow2 is unknown", offset=4, spec=QCOW2_SPEC)
    if encryption:
        raise DiskError(file.path, "is encrypted", offset=32, spec=QCOW2_SPEC, hint=MERGE_HINT)
    if incompatible & QCOW2_CORRUPT:
        hint = "repair it first: qemu-img check -r all FILE"
        raise DiskError(file.path, "is marked as corrupt", offset=72, spec=QCOW2_SPEC, hint=hint)
    if incompatible & QCOW2_EXTERNAL_DATA:
        raise DiskError(
            file.path, "keeps its data in another file", offset=72, spec=QCOW2_SPEC, hint=MERGE_HINT
        )
    node: dict[str, Any] = {"driver": "qcow2", "file": _file_node(file.path), "backing": None}
    if not backing_at:
        return node, "dynamic"
    if not 0 < backing_length <= 1023:
        raise DiskError(file.path, "the backing file's name is too long", offset=16, spec=QCOW2_SPEC)
    name = file.read(backing_at, backing_length, what="the backing file's name", spec=QCOW2_SPEC)
    node["backing"] = _backing_node(
        _neighbour(file.path, name.decode(errors="replace"), "backing file"), depth
    )
    return node, "differencing"


def _backing_node(path: Path, depth: int) -> dict[str, Any]:
    if depth >= MAX_CHAIN:
        raise DiskError(path, f"is the end of more than {MAX_CHAIN} backing files", hint=MERGE_HINT)
    file = ImageFile(path)
    try:
        head = file.read(0, min(file.size, 80))
        if head.startswith(b"QFI\xfb"):
            return _qcow2_node(file, depth + 1)[0]
        if head.startswith((b"KDMV", b"COWD", b"# Disk Desc", b"vhdxfile", b"conectix")):
            raise DiskError(path, "is a backing file of a format other than raw and qcow2", hint=MERGE_HINT)
        return {"driver": "raw", "file": _file_node(path)}
    finally:
        file.close()


def _vmdk_node(file: ImageFile, depth: int) -> tuple[dict[str, Any], str]:
    head = file.read(0, min(file.size, SECTOR))
    node = {"driver": "vmdk", "file": _file_node(file.path), "backing": None}
    if head.startswith(b"# Disk Descriptor"):
        if file.size > MAX_DESCRIPTOR:
            raise DiskError(file.path, "the descriptor is too long", spec=VMDK_SPEC)
        types = _check_descriptor(file, file.read(0, file.size))
        return node, "fixed" if types <= {"FLAT", "VMFS", "ZERO"} else "dynamic"
    _check_sparse_extent(file, head)
    return node, "dynamic"


def _check_sparse_extent(file: ImageFile, head: bytes) -> None:
    """DiskError when a sparse extent refers to other files."""
    if head.startswith(b"COWD"):
        return
    if len(head) < VMDK_HEADER.size:
        raise DiskError(file.path, "the header is cut off", offset=0, spec=VMDK_SPEC)
    _, _, _, capacity, _, descriptor_at, descriptor_length = VMDK_HEADER.unpack_from(head)
    if not capacity:
        raise DiskError(
            file.path, "its capacity is 0: only a descriptor", offset=12, spec=VMDK_SPEC, hint=MERGE_HINT
        )
    if descriptor_at and 0 < descriptor_length * SECTOR <= MAX_DESCRIPTOR:
        text = file.read(descriptor_at * SECTOR, descriptor_length * SECTOR, what="the descriptor")
        _refuse_parent(file, text)


def _refuse_parent(file: ImageFile, text: bytes) -> str:
    descriptor = text.split(b"\0", 1)[0].decode(errors="replace")
    parent = VMDK_PARENT.search(descriptor)
    if parent is not None and parent[1].lower() != "ffffffff":
        raise DiskError(
            file.path,
            "is a snapshot of another VMDK disk, which holds only the changes",
            spec=VMDK_SPEC,
            hint=MERGE_HINT,
        )
    return descriptor


def _check_descriptor(file: ImageFile, text: bytes) -> set[str]:
    """The types of the extents that a text descriptor lists; DiskError unless all lie beside it."""
    extents = VMDK_EXTENT.findall(_refuse_parent(file, text))
    if not extents:
        raise DiskError(file.path, "the descriptor lists no extents", spec=VMDK_SPEC)
    for _, kind, name in extents:
        if kind not in ("FLAT", "SPARSE", "VMFS", "VMFSSPARSE", "ZERO"):
            raise DiskError(
                file.path, f"extents of type {kind} are not read", spec=VMDK_SPEC, hint=MERGE_HINT
            )
        if kind == "ZERO":
            continue
        other = ImageFile(_neighbour(file.path, name, "extent"))
        try:
            if kind in ("SPARSE", "VMFSSPARSE"):
                _check_sparse_extent(other, other.read(0, min(other.size, SECTOR)))
        finally:
            other.close()
    return {kind for _, kind, _ in extents}


def _vdi_node(file: ImageFile, depth: int) -> tuple[dict[str, Any], str]:
    kind = int.from_bytes(file.read(76, 4, what="the header"), "little")
    if kind not in VDI_TYPES:
        raise DiskError(
            file.path,
            f"is a VDI disk of type {kind}; 1 (dynamic) and 2 (fixed) are read",
            offset=76,
            hint=MERGE_HINT,
        )
    return {"driver": "vdi", "file": _file_node(file.path)}, VDI_TYPES[kind]


NODES = {"qcow2": _qcow2_node, "vmdk": _vmdk_node, "vdi": _vdi_node}
