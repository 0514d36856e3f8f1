"""Reading btrfs: trees made here byte by byte, those of mkfs.btrfs, and damaged ones."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import google_crc32c
import pytest
import zstandard

from vmstamp import disk
from vmstamp.disk.base import Disk
from vmstamp.errors import GuestError
from vmstamp.guest.files.btrfs import Btrfs
from vmstamp.guest.files.fs import Files, survey
from vmstamp.guest.files.probe import probe
from vmstamp.guest.files.volume import Kind
from vmstamp.guest.files.window import Window
from vmstamp.run import run

MIB = 1024 * 1024
SIZE = 4 * MIB
NODE = 4096
A_UUID = UUID("6e8ab20c-0ac0-4d8a-9c2b-1f6f5d4c3b2a")
CHUNKS, ROOTS, TOP, SUB, DATA = (MIB + n * NODE for n in range(5))

Item = tuple[tuple[int, int, int], bytes]


def crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def seal(block: bytes, digest: Callable[[bytes], bytes] = crc) -> bytes:
    return digest(block[32:]).ljust(32, b"\0") + block[32:]


def leaf(address: int, items: list[Item], digest: Callable[[bytes], bytes] = crc) -> bytes:
    table, data = b"", b""
    for key, content in sorted(items):
        at = NODE - 0x65 - len(data) - len(content)
        table += struct.pack("<QBQII", *key, at, len(content))
        data = content + data
    head = bytes(0x30) + struct.pack("<Q", address) + bytes(0x60 - 0x38) + struct.pack("<IB", len(items), 0)
    return seal((head + table).ljust(NODE - len(data), b"\0") + data, digest)


def branch(address: int, children: list[tuple[tuple[int, int, int], int]], level: int = 1) -> bytes:
    head = bytes(0x30) + struct.pack("<Q", address) + bytes(0x60 - 0x38)
    head += struct.pack("<IB", len(children), level)
    return seal((head + b"".join(struct.pack("<QBQQQ", *k, a, 1) for k, a in children)).ljust(NODE, b"\0"))


def chunk(kind: int = 0, device: int = 1, copies: tuple[int, ...] = (0,)) -> bytes:
    head = struct.pack("<QQQQIIIHH", SIZE, 2, 65536, kind, 4096, 4096, 4096, len(copies), 0)
    return head + b"".join(struct.pack("<QQ16x", device, place) for place in copies)


def inode(mode: int, size: int = 0) -> bytes:
    return struct.pack("<16xQ28xI", size, mode).ljust(160, b"\0")


def entry(parent: int, index: int, name: bytes, target: tuple[int, int, int]) -> list[Item]:
    data = struct.pack("<QBQQHHB", *target, 1, 0, len(name), 1) + name
    hashed = google_crc32c.extend(1, name) ^ 0xFFFFFFFF
    return [((parent, 84, hashed), data), ((parent, 96, index), data)]


def inline(content: bytes, packing: int = 0, size: int = 0) -> bytes:
    return struct.pack("<QQBBHB", 1, size or len(content), packing, 0, 0, 0) + content


def regular(address: int, packed: int, skip: int, length: int, *, packing: int = 0, size: int = 0) -> bytes:
    return struct.pack("<QQBBHB", 1, size, packing, 0, 0, 1) + struct.pack(
        "<QQQQ", address, packed, skip, length
    )


def file(
    number: int, name: bytes, content: list[tuple[int, bytes]], size: int, mode: int = 0o100644
) -> list[Item]:
    items = [((number, 1, 0), inode(mode, size)), *entry(256, number, name, (number, 1, 0))]
    return items + [((number, 108, offset), data) for offset, data in content]


TEXT = b"ID=opensuse-leap\nPRETTY_NAME='openSUSE Leap'\n"
LONG = random.Random(1).randbytes(300) * 30
PACKED = zlib.compress(LONG)


def top_items() -> list[Item]:
    items = [((256, 1, 0), inode(0o40755))]
    items += entry(256, 2, b"@", (300, 132, (1 << 64) - 1))
    items += file(257, b"plain", [(0, inline(b"hello"))], 5)
    items += file(258, b"link", [(0, inline(b"plain"))], 5, 0o120777)
    items += file(259, b"zlib", [(0, inline(zlib.compress(TEXT), 1, len(TEXT)))], len(TEXT))
    items += file(260, b"zstd", [(0, inline(zstandard.compress(TEXT), 3, len(TEXT)))], len(TEXT))
    pieces = [(0, regular(DATA, NODE, 1, 4000)), (12288, regular(DATA, NODE, 0, NODE))]
    items += file(261, b"holes", pieces, 12288 + 100)
    packed = regular(DATA, len(PACKED), 10, 8000, packing=1, size=len(LONG))
    items += file(262, b"packed", [(0, packed)], 8000)
    return items


def sub_items() -> list[Item]:
    items = [((256, 1, 0), inode(0o40755)), ((257, 1, 0), inode(0o40755))]
    items += entry(256, 2, b"etc", (257, 1, 0))
    items += [((258, 1, 0), inode(0o100644, len(TEXT))), ((258, 108, 0), inline(TEXT))]
    items += entry(257, 2, b"os-release", (258, 1, 0))
    items += [((259, 1, 0), inode(0o100644, len(FSTAB))), ((259, 108, 0), inline(FSTAB))]
    return items + entry(257, 3, b"fstab", (259, 1, 0))


FSTAB = f"UUID={A_UUID} / btrfs defaults 0 0\nUUID={A_UUID} /top btrfs subvolid=5 0 0\n".encode()


def root_item(address: int) -> bytes:
    return (bytes(160) + struct.pack("<QQQ", 1, 256, address)).ljust(239, b"\0")


def image(**changed: Any) -> dict[int, bytes]:
    """A btrfs whose logical addresses are those of the disk: a top level and the subvolume @ (300)."""
    kind: int = changed.get("checksum", 0)
    digest = changed.get("digest", crc)
    roots: list[Item] = [((5, 132, 0), root_item(TOP)), ((300, 132, 0), root_item(SUB))]
    if "default" in changed:
        roots += entry(6, 0, b"default", (changed["default"], 132, (1 << 64) - 1))
    array = struct.pack("<QBQ", 256, 228, 0) + changed.get("chunk", chunk())
    block = bytearray(4096)
    block[0x20:0x30] = A_UUID.bytes
    block[0x40:0x48] = b"_BHRfS_M"
    struct.pack_into("<QQQ", block, 0x50, ROOTS, CHUNKS, changed.get("log", 0))
    struct.pack_into(
        "<QIIIII",
        block,
        0x88,
        changed.get("devices", 1),
        4096,
        changed.get("node", NODE),
        NODE,
        4096,
        len(array),
    )
    struct.pack_into("<QH", block, 0xBC, changed.get("features", 0x341), kind)
    struct.pack_into("<Q", block, 0xC9, 1)
    block[0x32B : 0x32B + len(array)] = array
    return {
        0x10000: seal(bytes(block), digest),
        CHUNKS: leaf(CHUNKS, [((256, 228, 0), changed.get("chunk", chunk()))], digest),
        ROOTS: changed.get("roots") or leaf(ROOTS, roots, digest),
        TOP: changed.get("top") or leaf(TOP, changed.get("items") or top_items(), digest),
        SUB: leaf(SUB, sub_items(), digest),
        DATA: changed.get("data", b"D" * NODE),
        **changed.get("more", {}),
    }


def open_btrfs(guests: Any, parts: dict[int, bytes]) -> Btrfs:
    window = Window(guests.raw_disk(SIZE, parts), 0, SIZE)
    found = probe(window)
    assert found is not None
    return Btrfs(window, found)


def content(volume: Btrfs, name: str) -> bytes:
    node = volume.root.child(name)
    assert node is not None
    return node.read(0, node.size)


def test_names_links_and_kinds(guests: Any) -> None:
    volume = open_btrfs(guests, image())
    assert set(volume.root.names()) == {"@", "plain", "link", "zlib", "zstd", "holes", "packed"}
    link, absent = volume.root.child("link"), volume.root.child("none")
    assert link is not None
    assert (link.kind, link.target(), absent) == (Kind.SYMLINK, "plain", None)
    plain = volume.root.child("plain")
    assert plain is not None
    assert (plain.kind, plain.size, plain.mode, plain.read(1, 100)) == (Kind.FILE, 5, 0o644, b"ello")


def test_inline_packed_and_sparse_content(guests: Any) -> None:
    volume = open_btrfs(guests, image())
    assert content(volume, "zlib") == content(volume, "zstd") == TEXT
    assert content(volume, "holes") == b"D" * 4000 + bytes(12288 - 4000) + b"D" * 100
    packed = open_btrfs(guests, image(data=PACKED))
    assert content(packed, "packed") == LONG[10:8010]


def test_lzo_is_unpacked(guests: Any) -> None:
    # A run of 9 bytes, then 40 bytes from 3 before, then the end of the stream.
    stream = bytes([17 + 9]) + b"abcdefxyz" + bytes([0b00100000, 7, 2 << 2, 0]) + b"\x11\x00\x00"
    packed = struct.pack("<II", 8 + len(stream), len(stream)) + stream
    wanted = b"abcdef" + (b"xyz" * 20)[:43]
    items = [((256, 1, 0), inode(0o40755)), *file(257, b"lzo", [(0, inline(packed, 2, 49))], 49)]
    assert content(open_btrfs(guests, image(items=items)), "lzo") == wanted


def test_subvolumes_are_found_by_path_number_and_default(guests: Any) -> None:
    volume = open_btrfs(guests, image())
    assert (volume.default, volume.subvolumes()) == (5, [300])
    assert volume.find_subvolume("/@") == volume.subvolume(300)
    assert volume.find_subvolume("") == volume.subvolume(5)
    assert volume.find_subvolume("plain") is None
    assert volume.find_subvolume("gone/x") is None
    other = open_btrfs(guests, image(default=300))
    assert other.default == 300
    assert other.root.names() == ["etc"]


@pytest.mark.parametrize("changed", [{}, {"default": 300}])
def test_the_system_in_a_subvolume_is_the_root(guests: Any, changed: dict[str, int]) -> None:
    found = survey(guests.raw_disk(SIZE, image(**changed)))
    assert found.root is not None
    assert isinstance(found.files, Files)
    assert found.files.mounts == ("/", "/top")
    assert found.files.find_text("/etc/os-release") == TEXT.decode()


@pytest.mark.parametrize(
    ("checksum", "digest"),
    [
        (1, lambda data: bytes(8)),
        (2, lambda data: hashlib.sha256(data).digest()),
        (3, lambda data: hashlib.blake2b(data, digest_size=32).digest()),
    ],
)
def test_other_kinds_of_checksum(guests: Any, checksum: int, digest: Callable[[bytes], bytes]) -> None:
    volume = open_btrfs(guests, image(checksum=checksum, digest=digest))
    assert content(volume, "plain") == b"hello"


def test_a_second_copy_is_read_where_the_first_is_damaged(guests: Any) -> None:
    shift = 2 * MIB
    parts = image(chunk=chunk(0x22, copies=(0, shift)))
    copies = {at + shift: data for at, data in parts.items() if at > MIB}
    parts[TOP] = bytes(NODE)
    assert content(open_btrfs(guests, parts | copies), "plain") == b"hello"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"devices": 2}, "lies on 2 devices"),
        ({"features": 0x1341}, "zoned"),
        ({"features": 1 << 40}, "0x10000000000"),
        ({"node": 1 << 30}, "cannot be true"),
        ({"chunk": chunk(device=7)}, "another device"),
        ({"chunk": chunk(0x8, copies=(0, MIB))}, "another device"),
        ({"top": leaf(TOP, [])}, "no inode 256"),
        ({"top": leaf(MIB, top_items())}, "no copy of the node"),
        ({"top": seal(leaf(TOP, top_items())[:-1] + b"x")[:-1] + b"y"}, "no copy of the node"),
        ({"roots": leaf(ROOTS, [])}, "no subvolume 5"),
        ({"top": branch(TOP, [((0, 0, 0), TOP)])}, "is of level 1"),
        ({"top": branch(TOP, [((0, 0, 0), SIZE * 9)])}, "nothing lies at"),
        ({"top": branch(TOP, [((1, 0, 0), SUB), ((0, 0, 0), SUB)])}, "out of order"),
    ],
)
def test_what_is_not_read_says_so(guests: Any, changed: dict[str, Any], why: str) -> None:
    with pytest.raises(GuestError, match=why):
        open_btrfs(guests, image(**changed))


def test_a_log_that_was_not_replayed_is_told(guests: Any) -> None:
    found = probe(Window(guests.raw_disk(SIZE, image(log=MIB)), 0, SIZE))
    assert found is not None
    assert found.dirty == "its log was not replayed"


def test_a_tree_that_repeats_itself_ends(guests: Any) -> None:
    """Eight levels, each with many pointers to the next: more leaves than anyone could visit."""
    more = {}
    for level in range(1, 8):
        below = TOP if level == 1 else 2 * MIB + (level - 1) * NODE
        at = 2 * MIB + level * NODE
        more[at] = branch(at, [((256, 96 if n else 1, n), below) for n in range(100)], level)
    roots = leaf(ROOTS, [((5, 132, 0), root_item(2 * MIB + 7 * NODE))])
    items = [((256, 1, 0), inode(0o40755))]
    window = Window(guests.raw_disk(SIZE, image(roots=roots, more=more, items=items)), 0, SIZE, reads=50_000)
    found = probe(window)
    assert found is not None
    with pytest.raises(GuestError, match="too many"):
        open_all(Btrfs(window, found))


def open_all(volume: Btrfs) -> None:
    volume.root.names()


def everything(root: Any, depth: int = 4) -> None:
    for name in root.names()[:50]:
        node = root.child(name)
        if node is None:
            continue
        if node.kind is Kind.DIRECTORY and depth:
            everything(node, depth - 1)
        elif node.kind is Kind.SYMLINK:
            node.target()
        else:
            node.read(0, min(node.size, MIB))


@pytest.mark.parametrize("seed", range(60))
def test_damaged_trees_raise_nothing_but_our_error(guests: Any, seed: int) -> None:
    """xxHash is not computed, so that every damage is seen by the parser."""
    rng = random.Random(seed)
    parts = image(checksum=1, digest=lambda data: bytes(8), data=PACKED)
    for _ in range(rng.randrange(1, 12)):
        at = rng.choice([0x10000, CHUNKS, ROOTS, TOP, SUB])
        block = bytearray(parts[at])
        used = [n for n, byte in enumerate(block) if byte] or [0]
        block[rng.choice(used)] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
        parts[at] = bytes(block)
    with contextlib.suppress(GuestError):
        found = probe(Window(guests.raw_disk(SIZE, parts), 0, SIZE))
        if found is not None and found.kind == "btrfs" and not found.unread:
            everything(Btrfs(Window(guests.raw_disk(SIZE, parts), 0, SIZE, reads=20_000), found).root)


def compare(node: Any, place: Path) -> int:
    names = sorted(path.name for path in place.iterdir())
    assert sorted(node.names()) == names
    for name in names:
        path, child = place / name, node.child(name)
        if path.is_dir():
            assert compare(child, path) or not any(path.iterdir())
        else:
            assert child.read(0, child.size) == path.read_bytes()
    return len(names)


@pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="mkfs.btrfs is not installed")
def test_what_mkfs_makes_is_read_back_whole(tmp_path: Path) -> None:
    tree, rng = tmp_path / "tree", random.Random(2)
    for n in range(40):
        directory = tree / f"d{n % 7}" / f"e{n % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        for k in range(30):
            (directory / f"file-{n}-{k}-{'x' * (k * 5)}").write_bytes(
                rng.randbytes(rng.choice([0, 9, 3000, 70_000]))
            )
    path = tmp_path / "btrfs.img"
    path.touch()
    path.write_bytes(b"")
    with path.open("r+b") as file_:
        file_.truncate(256 * MIB)
    run(["mkfs.btrfs", "-q", "--rootdir", str(tree), str(path)])
    opened: Disk
    with disk.open(path) as opened:
        window = Window(opened, 0, opened.size)
        found = probe(window)
        assert found is not None
        assert compare(Btrfs(window, found).root, tree) == 7
