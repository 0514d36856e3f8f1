"""Bed: the files of one kind in a directory, and inputs laid over their structures.

An input, which is what a fuzzer mutates, is small:
    offset size field
         0    1 odd: the checksums are made right again
         1    1 of the file's end: 0-239 as it is, 240-247 cut off, 248-255 holes behind it
         2    4 number, little-endian: where it is cut, how long it gets, and what is read
         6      the bytes of the kind's ranges, one behind the other; missing ones are as in the valid file
"""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

from fuzz.kinds import Kind
from fuzz.sparse import SparseFile

CONTROL = struct.Struct("<BBI")
CUT, GROW = 240, 248


class Bed:
    """A kind's files in `directory`; `path` is the one that is mutated. Not thread-safe."""

    def __init__(self, kind: Kind, directory: Path) -> None:
        self.kind = kind
        for name, file in kind.files.items():
            file.write(directory / name)
        name, self._valid = next(iter(kind.files.items()))
        self.path = directory / name
        self._original = bytes(self._valid.data())
        self._image = bytearray(self._original)
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self._resized = False

    def valid_input(self, *, seal: bool = False) -> bytes:
        """The input that changes nothing."""
        return CONTROL.pack(seal, 0, 0) + b"".join(self._original[low:high] for low, high in self.kind.ranges)

    def lay(self, data: bytes) -> random.Random:
        """Make the file what the input `data` says; the chances of what is done with it."""
        seal, mode, number = CONTROL.unpack(data[: CONTROL.size].ljust(CONTROL.size, b"\0"))
        at = CONTROL.size
        for low, high in self.kind.ranges:
            piece = data[at : at + high - low]
            self._image[low : low + len(piece)] = piece
            at += high - low
        if seal & 1:
            self.kind.seal(self._image)
        for low, high in self.kind.ranges:
            if self._image[low:high] != self._original[low:high]:
                os.pwrite(self._fd, self._image[low:high], low)
        if mode >= CUT:
            self._resize(mode, number)
        return random.Random(number)

    def _resize(self, mode: int, number: int) -> None:
        rng = random.Random(number)
        size = len(self._image)
        new = size + (1 << rng.randrange(9, 43)) if mode >= GROW else rng.randrange(1, size)
        os.ftruncate(self._fd, new)
        self._resized = True

    def clear(self) -> None:
        """Make the file the valid one again."""
        if self._resized:
            os.ftruncate(self._fd, 0)
            os.ftruncate(self._fd, len(self._original))
            for at, piece in self._valid.pieces.items():
                os.pwrite(self._fd, piece, at)
            self._resized = False
        for low, high in self.kind.ranges:
            if self._image[low:high] != self._original[low:high]:
                self._image[low:high] = self._original[low:high]
                os.pwrite(self._fd, self._original[low:high], low)

    def files(self) -> dict[str, SparseFile]:
        """The files as they are now."""
        now = SparseFile.of(self._image, os.fstat(self._fd).st_size)
        return {name: now if name == self.path.name else file for name, file in self.kind.files.items()}

    def close(self) -> None:
        os.close(self._fd)
