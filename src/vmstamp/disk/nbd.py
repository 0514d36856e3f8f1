"""A client of one export over NBD: fixed newstyle negotiation, structured replies, block status.

Only what reading and filling a disk needs; there is no maintained client on PyPI (libnbd's binding belongs
to the system's Python). Big-endian. Spec: NBD protocol (NetworkBlockDevice/nbd, doc/proto.md).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from vmstamp.disk.file import write_error
from vmstamp.errors import DiskError
from vmstamp.extents import Extent

NBD_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC, STRUCTURED_MAGIC = 0x25609513, 0x67446698, 0x668E33EF
FLAG_FIXED_NEWSTYLE, FLAG_NO_ZEROES = 1, 2
OPT_GO, OPT_STRUCTURED_REPLY, OPT_SET_META_CONTEXT = 7, 8, 10
REP_ACK, REP_INFO, REP_META_CONTEXT = 1, 3, 4
INFO_EXPORT = 0
CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_BLOCK_STATUS = 0, 1, 2, 3, 7
CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_BLOCK_STATUS = 0, 1, 2, 5
CHUNK_IS_ERROR, CHUNK_DONE = 0x8000, 1
STATE_ZERO = 2  # of base:allocation
ALLOCATION = b"base:allocation"

MAX_READ = 32 * 1024 * 1024  # what every server takes
STATUS_SPAN = 1024**3  # bytes asked about at once
MAX_REPLY = 64 * 1024 * 1024  # a longer chunk is not believed
TIMEOUT = 120.0  # seconds without a byte from the server

_REQUEST = struct.Struct(">IHHQQI")
_OPTION_REPLY = struct.Struct(">QIII")
_CHUNK = struct.Struct(">HHQI")


class NbdConnection:
    """One connection; a lock makes requests take turns. `path` is only named in errors."""

    def __init__(self, address: Path, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._cookie = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(TIMEOUT)
            self._socket.connect(str(address))
            self.size = self._negotiate()
        except BaseException:
            self._socket.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`. Raises DiskError."""
        data = bytearray(length)
        with self._lock:
            for start in range(0, length, MAX_READ):
                self._read_into(data, start, offset + start, min(MAX_READ, length - start))
        return bytes(data)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data` at `offset`. Raises DiskError."""
        view = memoryview(data)
        with self._lock:
            for start in range(0, len(view), MAX_READ):
                piece = view[start : start + MAX_READ]
                self._request(CMD_WRITE, offset + start, len(piece))
                self._send(piece)
                self._await_done()

    def flush(self) -> None:
        """Have the server write all that it was given. Raises DiskError."""
        with self._lock:
            self._request(CMD_FLUSH, 0, 0)
            self._await_done()

    def data_ranges(self) -> Iterator[Extent]:
        """The ranges that are not known to be zero, ascending, some adjacent. Raises DiskError."""
        offset = 0
        while offset < self.size:
            with self._lock:
                states = self._block_status(offset, min(STATUS_SPAN, self.size - offset))
            for length, flags in states:
                end = min(offset + length, self.size)
                if not flags & STATE_ZERO:
                    yield Extent(offset, end)
                offset = end

    def close(self) -> None:
        """Tell the server goodbye. May be called more than once."""
        try:
            self._socket.sendall(_REQUEST.pack(REQUEST_MAGIC, 0, CMD_DISC, 0, 0, 0))
        except OSError:
            pass  # it is gone already
        finally:
            self._socket.close()

    def _broken(self, what: str) -> DiskError:
        return DiskError(self._path, f"qemu-nbd {what}")

    def _take(self, length: int) -> bytes:
        buffer = bytearray(length)
        self._take_into(memoryview(buffer))
        return bytes(buffer)

    def _take_into(self, view: memoryview) -> None:
        while view:
            try:
                count = self._socket.recv_into(view)
            except OSError as error:
                raise self._broken(f"does not answer: {error}") from error
            if not count:
                raise self._broken("ended the connection")
            view = view[count:]

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._broken(f"does not answer: {error}") from error

    def _negotiate(self) -> int:
        """Take the default export; return its size."""
        if self._take(16) != NBD_MAGIC + OPTION_MAGIC:
            raise self._broken("does not speak newstyle NBD")
        self._take(2)
        self._send(struct.pack(">I", FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES))
        self._option(OPT_STRUCTURED_REPLY, b"")
        query = struct.pack(">III", 0, 1, len(ALLOCATION)) + ALLOCATION
        if REP_META_CONTEXT not in dict(self._option(OPT_SET_META_CONTEXT, query)):
            raise self._broken("does not tell what is allocated")
        for kind, data in self._option(OPT_GO, struct.pack(">IH", 0, 0)):
            if kind == REP_INFO and data[:2] == struct.pack(">H", INFO_EXPORT):
                return int.from_bytes(data[2:10], "big")
        raise self._broken("does not tell the size of its export")

    def _option(self, option: int, data: bytes) -> list[tuple[int, bytes]]:
        """Ask for an option; all replies but the final ACK. DiskError when it is refused."""
        self._send(OPTION_MAGIC + struct.pack(">II", option, len(data)) + data)
        replies: list[tuple[int, bytes]] = []
        while True:
            magic, _, kind, length = _OPTION_REPLY.unpack(self._take(_OPTION_REPLY.size))
            if magic != OPTION_REPLY_MAGIC or length > MAX_REPLY:
                raise self._broken(f"answers option {option} with nonsense")
            content = self._take(length)
            if kind == REP_ACK:
                return replies
            if kind & 0x80000000:
                raise self._broken(f"refuses option {option}: {content.decode(errors='replace')}")
            replies.append((kind, content))

    def _request(self, command: int, offset: int, length: int) -> None:
        self._cookie += 1
        self._send(_REQUEST.pack(REQUEST_MAGIC, 0, command, self._cookie, offset, length))

    def _await_done(self) -> None:
        """The reply to a command without content, simple or structured."""
        (magic,) = struct.unpack(">I", self._take(4))
        if magic == SIMPLE_MAGIC:
            error, cookie = struct.unpack(">IQ", self._take(12))
        elif magic == STRUCTURED_MAGIC:
            flags, kind, cookie, length = _CHUNK.unpack(self._take(_CHUNK.size))
            if length > MAX_REPLY or not flags & CHUNK_DONE:
                raise self._broken("answers with nonsense")
            content = self._take(length)
            error = int.from_bytes(content[:4], "big") if kind & CHUNK_IS_ERROR else 0
        else:
            raise self._broken("sends no reply")
        if cookie != self._cookie:
            raise self._broken("answers another request")
        if error:  # the numbers are Linux's
            raise write_error(self._path, OSError(error, os.strerror(error)))

    def _chunks(self) -> Iterator[tuple[int, int]]:
        """The structured reply's chunks as (type, length); the caller takes each one's content."""
        flags = 0
        while not flags & CHUNK_DONE:
            (magic,) = struct.unpack(">I", self._take(4))
            if magic != STRUCTURED_MAGIC:
                raise self._broken("sends no structured reply")
            flags, kind, cookie, length = _CHUNK.unpack(self._take(_CHUNK.size))
            if cookie != self._cookie or length > MAX_REPLY:
                raise self._broken("answers another request")
            if kind & CHUNK_IS_ERROR:
                content = self._take(length)
                said = content[6 : 6 + int.from_bytes(content[4:6], "big")].decode(errors="replace")
                raise self._broken(
                    f"cannot read: {said or 'error ' + str(int.from_bytes(content[:4], 'big'))}"
                )
            yield kind, length

    def _read_into(self, data: bytearray, at: int, offset: int, length: int) -> None:
        self._request(CMD_READ, offset, length)
        missing = length
        for kind, size in self._chunks():
            if kind == CHUNK_NONE:
                continue
            start = int.from_bytes(self._take(8), "big") - offset
            span = size - 8 if kind == CHUNK_DATA else int.from_bytes(self._take(4), "big")
            if kind not in (CHUNK_DATA, CHUNK_HOLE) or start < 0 or start + span > length:
                raise self._broken("answers with other bytes than asked for")
            if kind == CHUNK_DATA:
                self._take_into(memoryview(data)[at + start : at + start + span])
            missing -= span
        if missing:
            raise self._broken(f"left out {missing} bytes at {offset}")

    def _block_status(self, offset: int, length: int) -> list[tuple[int, int]]:
        """Lengths and flags of base:allocation from `offset` on; at least one."""
        self._request(CMD_BLOCK_STATUS, offset, length)
        states: list[tuple[int, int]] = []
        for kind, size in self._chunks():
            content = self._take(size)
            if kind == CHUNK_BLOCK_STATUS:
                states = list(struct.iter_unpack(">II", content[4:]))
        if not states or not all(span for span, _ in states):
            raise self._broken("does not tell what is allocated")
        return states
