"""LVM2: the logical volumes of the physical volumes that lie on one disk.

A physical volume says which it is in one of its first four sectors, little-endian:

    offset size field                          offset size field
         0    8 "LABELONE"                         24    8 "LVM2 001"
         8    8 number of this sector              32   32 UUID of the physical volume, without dashes
        16    4 checksum of what follows           64    8 its size
        20    4 offset of the header, 32           72      areas of data, then of metadata: (offset, size)
                                                           pairs of u64, each list ended by two zeros

A metadata area begins with a sector of its own (checksum, magic " LVM2 x[5A%r0N*>", version, start, size)
and has at byte 40 the place of the text, (offset, size, checksum, flags); the area behind its first sector is
a ring. The text names the volume group, its physical volumes and the segments of its logical volumes.

Read are linear and striped volumes; what else there is (mirrors, RAID, thin volumes, snapshots) is named.
Spec: lvm2 lib/format_text/layout.h, lib/label/label.h; lvm.conf(5) for the grammar of the text.
"""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.errors import GuestError
from vmstamp.extents import Extent
from vmstamp.guest.files.window import Window

LABEL_SECTORS = 4
LABEL_MAGIC = b"LABELONE"
AREA_MAGIC = b" LVM2 x[5A%r0N*>"
CHECKSUM_START = 0xF597A6CF  # lvm2 lib/misc/crc.h
MAX_AREAS = 16
MAX_TEXT = 4 * 1024 * 1024  # bytes; an area has 1 MiB unless one asks for more
MAX_DEPTH = 16
MAX_VOLUMES = 1024
MAX_SEGMENTS = 65_536
MAX_STRIPES = 128

_TOKEN = re.compile(r'\s+|#[^\n]*|(?P<token>"(?:[^"\\]|\\.)*"|[\w.+\-/@]+|[={}\[\],])')
_VISIBLE = "VISIBLE"

Value = int | str | list["Value"] | dict[str, "Value"]
Section = Mapping[str, Value]


@dataclass(frozen=True)
class Segment:
    """Bytes [offset, offset + length) of a logical volume: `starts` are places on the disk.

    One start: they lie there in one piece. More: pieces of `stripe_size` bytes go round the starts.
    """

    offset: int
    length: int
    starts: tuple[int, ...]
    stripe_size: int = 0

    def pieces(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """(place on the disk, length) of a span, which is inside the segment; `offset` is the volume's."""
        position, end = offset - self.offset, offset - self.offset + length
        while position < end:
            if len(self.starts) == 1:
                yield self.starts[0] + position, end - position
                return
            stripe, within = divmod(position, self.stripe_size)
            row, column = divmod(stripe, len(self.starts))
            length = min(self.stripe_size - within, end - position)
            yield self.starts[column] + row * self.stripe_size + within, length
            position += length


@dataclass(frozen=True)
class LogicalVolume:
    """`segments` cover [0, size) in order; `problem` says why they are not known ('' : they are)."""

    group: str
    name: str
    size: int
    segments: tuple[Segment, ...]
    problem: str = ""

    @property
    def paths(self) -> tuple[str, str]:
        """The device's names: /dev/GROUP/NAME, and the mapper's, where a `-` in a name is doubled."""
        doubled = "-".join(part.replace("-", "--") for part in (self.group, self.name))
        return f"/dev/{self.group}/{self.name}", f"/dev/mapper/{doubled}"

    def table(self, device: str) -> str:
        """The device mapper's table when the whole disk is `device`, in sectors. Spec: dmsetup(8)."""
        lines = []
        for segment in self.segments:
            starts = [f"{device} {start // SECTOR}" for start in segment.starts]
            kind = f"striped {len(starts)} {segment.stripe_size // SECTOR}" if len(starts) > 1 else "linear"
            lines.append(f"{segment.offset // SECTOR} {segment.length // SECTOR} {kind} {' '.join(starts)}")
        return "\n".join(lines)


class LogicalDisk(Disk):
    """The bytes of a logical volume. Thread-safe as the disk is; does not own it."""

    format = "lvm"

    def __init__(self, disk: Disk, volume: LogicalVolume) -> None:
        self._disk = disk
        self._segments = volume.segments
        self._ends = [segment.offset + segment.length for segment in volume.segments]
        self.size = volume.size

    def _read(self, offset: int, length: int) -> bytes:
        end = offset + length
        parts = []
        for segment in self._segments[bisect_right(self._ends, offset) :]:
            low, high = max(offset, segment.offset), min(end, segment.offset + segment.length)
            if low >= high:
                break
            parts += [self._disk.read(*piece) for piece in segment.pieces(low, high - low)]
        return b"".join(parts)

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, self.size)

    def close(self) -> None: ...


@dataclass(frozen=True)
class PhysicalVolume:
    """`start` is where it begins on the disk; `text` the metadata it holds, '' when it holds none."""

    uuid: str
    start: int
    size: int
    text: str


def checksum(data: bytes) -> int:
    """CRC-32 with LVM's own start and without the last inversion."""
    return zlib.crc32(data, CHECKSUM_START ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def read_physical_volume(window: Window, start: int) -> PhysicalVolume:
    """The physical volume that fills the window, which is at byte `start` of the disk.

    Raises GuestError when its label or every copy of its metadata is damaged.
    """
    sector = next((n for n in range(LABEL_SECTORS) if window.read_at(n * SECTOR, 8) == LABEL_MAGIC), None)
    if sector is None:
        raise GuestError("LVM: none of the first four sectors is a label")
    label = window.read_at(sector * SECTOR, SECTOR)
    if len(label) < SECTOR or checksum(label[20:]) != struct.unpack_from("<I", label, 16)[0]:
        raise GuestError(f"LVM: the checksum of the label in sector {sector} is wrong")
    at = struct.unpack_from("<I", label, 20)[0]
    if label[24:32] != b"LVM2 001" or not 32 <= at <= SECTOR - 72:
        raise GuestError(f"LVM: the label in sector {sector} is of a kind not known here")
    uuid = label[at : at + 32].decode("ascii", "replace")
    places = [struct.unpack_from("<QQ", label, place) for place in range(at + 40, SECTOR - 15, 16)]
    texts, problem = [], ""
    for offset, size in _metadata_areas(places):
        try:
            texts.append(_read_area(window, offset, size))
        except GuestError as error:
            problem = problem or error.message
    if problem and not any(texts):
        raise GuestError(problem)
    return PhysicalVolume(uuid, start, window.size, next(filter(None, texts), ""))


def _metadata_areas(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The areas between the first pair of zeros, which ends the areas of data, and the second."""
    ends = [index for index, (offset, _) in enumerate(places) if not offset]
    if len(ends) < 2:
        raise GuestError("LVM: the label's list of areas has no end")
    return places[ends[0] + 1 : ends[1]][:MAX_AREAS]


def _read_area(window: Window, start: int, size: int) -> str:
    """The newest metadata text of an area; '' when it holds none or is not in use."""
    header = window.read_at(start, SECTOR)
    if len(header) < SECTOR or checksum(header[4:]) != struct.unpack_from("<I", header)[0]:
        raise GuestError(f"LVM: the checksum of the metadata area at byte {start} is wrong")
    if header[4:20] != AREA_MAGIC:
        raise GuestError(f"LVM: no metadata area at byte {start}")
    offset, length, wanted, flags = struct.unpack_from("<QQII", header, 40)
    if not offset or not length or flags & 1:
        return ""
    if length > MAX_TEXT or not SECTOR <= offset < size or length > size - SECTOR:
        raise GuestError(f"LVM: the metadata area at byte {start} says {length} bytes at {offset}")
    first = min(length, size - offset)
    text = window.read_at(start + offset, first) + window.read_at(start + SECTOR, length - first)
    if checksum(text) != wanted:
        raise GuestError(f"LVM: the checksum of the metadata at byte {start + offset} is wrong")
    return text.rstrip(b"\0").decode("utf-8", "replace")


def read_volumes(disk: Disk, physical: tuple[PhysicalVolume, ...]) -> tuple[LogicalVolume, ...]:
    """The visible logical volumes of the groups that these physical volumes are of.

    Raises GuestError when a text cannot be parsed. A volume whose bytes are not all on this disk, or that is
    of a kind not read, has a `problem` and no segments.
    """
    newest: dict[str, tuple[int, Section]] = {}
    for text in dict.fromkeys(one.text for one in physical if one.text):
        for name, group in parse_text(text).items():
            if isinstance(group, dict) and "physical_volumes" in group:
                sequence = _number(group, "seqno")
                if name not in newest or sequence > newest[name][0]:
                    newest[name] = sequence, group
    places = {one.uuid: one for one in physical}
    volumes = [
        volume for name, (_, group) in newest.items() for volume in _group_volumes(disk, name, group, places)
    ]
    return tuple(volumes[:MAX_VOLUMES])


def _group_volumes(
    disk: Disk, name: str, group: Section, places: Mapping[str, PhysicalVolume]
) -> Iterator[LogicalVolume]:
    extent = _number(group, "extent_size") * SECTOR
    if not extent:
        raise GuestError(f"LVM: the group {name} has extents of no size")
    here = {}
    for key, section in _sections(group, "physical_volumes"):
        place = places.get(str(section.get("id", "")).replace("-", ""))
        if place is not None:
            here[key] = place.start + _number(section, "pe_start") * SECTOR
    for key, section in _sections(group, "logical_volumes"):
        status = section.get("status")
        if not isinstance(status, list) or _VISIBLE not in status:
            continue
        try:
            segments = tuple(_segments(disk, section, extent, here))
        except GuestError as error:
            yield LogicalVolume(name, key, 0, (), f"{name}/{key}: {error.message}")
        else:
            yield LogicalVolume(name, key, sum(segment.length for segment in segments), segments)


def _segments(disk: Disk, volume: Section, extent: int, here: Mapping[str, int]) -> Iterator[Segment]:
    count = _number(volume, "segment_count")
    if count > MAX_SEGMENTS:
        raise GuestError(f"it has {count} segments, {MAX_SEGMENTS} are read")
    position = 0
    for index in range(1, count + 1):
        section = volume.get(f"segment{index}")
        if not isinstance(section, dict):
            raise GuestError(f"its segment {index} is missing")
        if section.get("type") not in ("striped", "linear"):
            raise GuestError(f"a volume of type {section.get('type')} is not read by this version")
        segment = _segment(section, extent, here)
        if segment.offset != position:
            raise GuestError(f"its segment {index} begins at {segment.offset}, not at {position}")
        share = segment.length // len(segment.starts)
        if any(start + share > disk.size for start in segment.starts):
            raise GuestError(f"its segment {index} ends behind the disk's end")
        position += segment.length
        yield segment


def _segment(section: Section, extent: int, here: Mapping[str, int]) -> Segment:
    stripes = section.get("stripes")
    count = _number(section, "stripe_count")
    if not isinstance(stripes, list) or not 0 < count <= MAX_STRIPES or len(stripes) != 2 * count:
        raise GuestError("it has a segment without its list of stripes")
    starts = []
    for device, first in zip(stripes[::2], stripes[1::2], strict=True):
        if not isinstance(device, str) or device not in here:
            raise GuestError("a part of it lies on a physical volume that is not on this disk")
        if not isinstance(first, int) or first < 0:
            raise GuestError("it has a stripe that begins nowhere")
        starts.append(here[device] + first * extent)
    length = _number(section, "extent_count") * extent
    stripe_size = _number(section, "stripe_size") * SECTOR if count > 1 else 0
    if not length or (count > 1 and (not stripe_size or length % (count * stripe_size))):
        raise GuestError("it has a segment whose length cannot be true")
    return Segment(_number(section, "start_extent") * extent, length, tuple(starts), stripe_size)


def _sections(section: Section, key: str) -> Iterator[tuple[str, Section]]:
    inner = section.get(key)
    for name, value in inner.items() if isinstance(inner, dict) else ():
        if isinstance(value, dict):
            yield name, value


def _number(section: Section, key: str) -> int:
    """A number of the text, 0 when it is absent. GuestError when it is none, or larger than any can be."""
    value = section.get(key, 0)
    if not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise GuestError(f"LVM: {key} is no number that can be true")
    return value


def parse_text(text: str) -> dict[str, Value]:
    """LVM's configuration text as nested mappings, lists, numbers and strings. GuestError when it is none."""
    tokens = _tokens(text)
    stack: list[dict[str, Value]] = [{}]
    for token in tokens:
        if token == "}":
            if len(stack) == 1:
                raise GuestError("LVM: the metadata has a } too many")
            stack.pop()
            continue
        sign = next(tokens, "")
        if sign == "=":
            stack[-1][token] = _value(tokens)
        elif sign == "{" and len(stack) < MAX_DEPTH:
            section: dict[str, Value] = {}
            stack[-1][token.strip('"')] = section
            stack.append(section)
        else:
            raise GuestError(f"LVM: the metadata has neither = nor {{ behind {token[:40]}")
    if len(stack) > 1:
        raise GuestError("LVM: the metadata ends inside a section")
    return stack[0]


def _value(tokens: Iterator[str]) -> Value:
    token = next(tokens, "")
    if token != "[":
        return _scalar(token)
    values: list[Value] = []
    for token in tokens:
        if token == "]":
            return values
        if token != ",":
            values.append(_scalar(token))
    raise GuestError("LVM: the metadata ends inside a list")


def _scalar(token: str) -> int | str:
    if token.startswith('"'):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    if re.fullmatch(r"-?\d{1,20}", token):
        return int(token)
    if token in ("", "=", "{", "}", "[", "]", ","):
        raise GuestError("LVM: the metadata has a key without a value")
    return token


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise GuestError(f"LVM: the metadata is no text of LVM's at character {position}")
        position = match.end()
        if match["token"]:
            yield match["token"]
