"""Bytes of a request in the pieces in which they came: a body of MiBs is not copied together on its way."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Body:
    """A request's body. `len` in bytes; `bytes` makes it one piece."""

    pieces: Sequence[bytes | bytearray] = ()

    @cached_property
    def _length(self) -> int:
        return sum(map(len, self.pieces))

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self.pieces)


Data = bytes | bytearray | memoryview | Body


def pieces_of(data: Data) -> Sequence[bytes | bytearray | memoryview]:
    return data.pieces if isinstance(data, Body) else (data,)


def crc64_text(data: bytes | Body) -> str:
    """CRC-64/NVME, little-endian in base64, as the service writes it."""
    from awscrt import checksums  # 0.1 s that a server's start need not wait for

    value = 0
    for piece in pieces_of(data):
        value = checksums.crc64nvme(piece, value)
    return base64.b64encode(value.to_bytes(8, "little")).decode()


def md5_text(data: bytes | Body) -> str:
    """MD5 in base64, as Content-MD5 has it."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pieces_of(data):
        digest.update(piece)
    return base64.b64encode(digest.digest()).decode()
