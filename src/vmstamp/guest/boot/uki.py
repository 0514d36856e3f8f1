"""Unified kernel images: the kernel, its initramfs and its command line as sections of one PE file.

    DOS header: 0x3C u32 place of "PE\0\0"; behind that the COFF header, 20 bytes: 0 u16 machine, 2 u16 number
    of sections, 16 u16 size of the optional header. Then the sections, 40 bytes each: 0 name, 8 u32 size in
    memory, 16 u32 size in the file, 20 u32 place in the file.

Spec: UAPI Unified Kernel Image; Microsoft PE Format.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vmstamp.guest.files.volume import Kind, Node

MAX_SECTIONS = 96  # the loader's own limit
MACHINES = {0x8664: "x86_64", 0xAA64: "aarch64", 0x14C: "i686", 0x1C4: "arm", 0x5064: "riscv64"}
SECURITY_DIRECTORY = 4  # index of the certificate table among the data directories


@dataclass(frozen=True)
class Part:
    """Bytes [start, start + size) of another node, as a node."""

    node: Node
    start: int
    size: int
    kind: Kind = Kind.FILE
    mode: int = 0o644

    @property
    def name(self) -> str:
        return self.node.name

    def child(self, name: str) -> Node | None:
        return None

    def names(self) -> list[str]:
        return []

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        return self.node.read(self.start + offset, length) if length > 0 else b""

    def target(self) -> str:
        return ""


@dataclass(frozen=True)
class PortableExecutable:
    """`machine` as `uname -m` says it; `signed`: it has a certificate table; `sections` by name."""

    machine: str
    signed: bool
    sections: dict[str, Part]


def read_executable(node: Node) -> PortableExecutable | None:
    """The headers of a PE file; None when it is none."""
    head = node.read(0, 4096)
    if len(head) < 0x40 or head[:2] != b"MZ":
        return None
    at = int(struct.unpack_from("<I", head, 0x3C)[0])
    header = node.read(at, 24 + 240 + 40 * MAX_SECTIONS)
    if len(header) < 24 or header[:4] != b"PE\0\0":
        return None
    machine, count = struct.unpack_from("<HH", header, 4)
    optional = struct.unpack_from("<H", header, 20)[0]
    sections: dict[str, Part] = {}
    for index in range(min(count, MAX_SECTIONS)):
        entry = header[24 + optional + 40 * index :][:40]
        if len(entry) < 40:
            break
        in_memory, _, in_file, place = struct.unpack_from("<IIII", entry, 8)
        name = entry[:8].rstrip(b"\0").decode("ascii", "replace")
        sections.setdefault(name, Part(node, place, min(in_memory or in_file, in_file)))
    name = MACHINES.get(machine, f"PE machine {machine:#x}")
    return PortableExecutable(name, _is_signed(header[24 : 24 + optional], node.size), sections)


def _is_signed(optional: bytes, size: int) -> bool:
    """The certificate table's directory entry lies inside the file. Spec: PE Format, optional header."""
    if len(optional) < 2:
        return False
    wide = struct.unpack_from("<H", optional)[0] == 0x20B
    at = (112 if wide else 96) + 8 * SECURITY_DIRECTORY
    if len(optional) < at + 8:
        return False
    place, length = struct.unpack_from("<II", optional, at)
    return bool(place and length and place + length <= size)


def read_section_text(image: PortableExecutable, name: str, limit: int = 64 * 1024) -> str:
    """A section as text, '' when it is absent."""
    part = image.sections.get(name)
    return part.read(0, min(part.size, limit)).rstrip(b"\0\n").decode("utf-8", "replace") if part else ""
