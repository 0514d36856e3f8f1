"""SparseFile: a file's size and what of it is not zero; and sets of them as text, which can be reviewed.

    # a comment
    kind vhdx-log
    file disk 4194304
    0 766864786669 6c65...
    file parent 1536
    0 ...

Lines of a file: the offset, decimal, and bytes in hexadecimal. The first file is the one to open.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_RUN = re.compile(rb"[^\0](?:(?:[^\0]|\0{1,15}(?!\0))*[^\0])?", re.DOTALL)
_LINE = 48  # bytes in a line of text


@dataclass(frozen=True)
class SparseFile:
    """`size` bytes of zeros but for `pieces`, bytes by their offset."""

    size: int
    pieces: Mapping[int, bytes]

    @classmethod
    def of(cls, data: bytes | bytearray, size: int | None = None) -> SparseFile:
        """What `data` holds, in a file of `size` bytes (None: of its length)."""
        size = len(data) if size is None else size
        return cls(size, {found.start(): found[0] for found in _RUN.finditer(memoryview(data)[:size])})

    def data(self) -> bytearray:
        """All bytes."""
        data = bytearray(self.size)
        for at, piece in self.pieces.items():
            data[at : at + len(piece)] = piece
        return data

    def write(self, path: Path) -> None:
        """Make `path` that file, with holes."""
        with path.open("wb", buffering=0) as file:
            for at, piece in self.pieces.items():
                os.pwrite(file.fileno(), piece, at)
            file.truncate(self.size)


def to_text(comment: str, kind: str, files: Mapping[str, SparseFile]) -> str:
    lines = [f"# {line}" for line in comment.splitlines()] + [f"kind {kind}"]
    for name, file in files.items():
        lines.append(f"file {name} {file.size}")
        for at, piece in file.pieces.items():
            lines += [f"{at + low} {piece[low : low + _LINE].hex()}" for low in range(0, len(piece), _LINE)]
    return "\n".join(lines) + "\n"


def parse_text(text: str) -> tuple[str, dict[str, SparseFile]]:
    """The kind, and the files by name. Raises ValueError."""
    kind, files, pieces = "", dict[str, SparseFile](), dict[int, bytes]()
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "kind":
            kind = rest
        elif word == "file":
            name, size = rest.split()
            pieces = {}
            files[name] = SparseFile(int(size), pieces)
        elif word != "#":
            pieces[int(word)] = bytes.fromhex(rest)
    if not kind or not files:
        raise ValueError("a kind and a file were expected")
    return kind, files
