"""What qcow2 and VMDK files refer to, and what of it is read; no QEMU here."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import pytest

from vmstamp.disk import qcow2, vmdk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.neighbours import Told
from vmstamp.errors import DiskError

CLUSTER = 65536
DESCRIPTOR = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'


def put_qcow2(path: Path, *, backing: bytes = b"", bits: int = 16, l1: tuple[int, ...] = ()) -> Path:
    """A qcow2 of version 2 whose L1 table lies in its second cluster; L2 tables are the caller's."""
    at = 72 if backing else 0
    head = struct.pack(
        ">4sIQIIQIIQ24x", b"QFI\xfb", 2, at, len(backing), bits, 1 << 20, 0, len(l1), 1 << bits
    )
    path.write_bytes((head + backing).ljust(1 << bits, b"\0") + struct.pack(f">{len(l1)}Q", *l1))
    return path


def put_descriptor(path: Path, *lines: str) -> Path:
    path.write_text(DESCRIPTOR + "\n".join(lines) + "\n")
    return path


def put_sparse_extent(path: Path, directory: list[int], *, per_table: int = 512) -> Path:
    """A sparse extent with grains of 64 KiB, and a grain directory of its own at sector 1."""
    capacity = len(directory) * 128 * per_table
    head = struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, capacity, 128, 0, 0, per_table, 0, 1)
    path.write_bytes(head.ljust(512, b"\0") + struct.pack(f"<{len(directory)}I", *directory))
    return path


def qcow2_node(path: Path, follow: bool = False) -> Told:
    file = ImageFile(path)
    try:
        return qcow2.node(file, follow)
    finally:
        file.close()


def vmdk_node(path: Path, follow: bool = False) -> Told:
    file = ImageFile(path)
    try:
        return vmdk.node(file, follow)
    finally:
        file.close()


@pytest.mark.parametrize("name", ["base", "sub/base", "../base", "{root}/base", "link"])
def test_a_backing_file_is_read_only_when_it_may_be_followed(tmp_path: Path, name: str) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    for place in (tmp_path, here, here / "sub"):
        (place / "base").write_bytes(bytes(512))
    (here / "link").symlink_to(tmp_path / "base")
    told = name.replace("{root}", str(tmp_path))
    top = put_qcow2(here / "top", backing=told.encode())
    with pytest.raises(DiskError, match=r"its backing file .* is another file") as caught:
        qcow2_node(top)
    assert "--follow" in caught.value.hint
    told_node, subformat, _ = qcow2_node(top, follow=True)
    assert subformat == "differencing"
    assert Path(told_node["backing"]["file"]["filename"]).samefile(here / told)


@pytest.mark.parametrize("name", [b"nbd:localhost:1", b"json:{}", b"1:x", b"a\0b", b"a\nb"])
def test_a_name_that_is_no_files_is_never_followed(tmp_path: Path, name: bytes) -> None:
    with pytest.raises(DiskError, match="is no file's name"):
        qcow2_node(put_qcow2(tmp_path / "top", backing=name), follow=True)


def test_a_chain_of_backing_files_without_an_end_is_refused(tmp_path: Path) -> None:
    put_qcow2(tmp_path / "a", backing=b"b")
    put_qcow2(tmp_path / "b", backing=b"a")
    with pytest.raises(DiskError, match="backing files"):
        qcow2_node(tmp_path / "a", follow=True)


def test_a_link_to_itself_is_no_backing_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DiskError):
        qcow2_node(put_qcow2(tmp_path / "top", backing=b"loop"), follow=True)


@pytest.mark.parametrize("kind", ["FLAT", "VMFS"])
def test_flat_extents_beside_a_descriptor_are_its_disk(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a-flat.vmdk").write_bytes(bytes(1024))
    path = put_descriptor(tmp_path / "a.vmdk", f'RW 2 {kind} "a-flat.vmdk" 0\r', 'ddb.adapterType = "ide"')
    assert vmdk_node(path)[1] == "fixed"


def test_a_sparse_extent_beside_a_descriptor_is_read_only_when_it_may_be_followed(tmp_path: Path) -> None:
    put_sparse_extent(tmp_path / "s001.vmdk", [0])
    path = put_descriptor(tmp_path / "a.vmdk", 'RW 65536 SPARSE "s001.vmdk"')
    with pytest.raises(DiskError, match="is another file") as caught:
        vmdk_node(path)
    assert "--follow" in caught.value.hint
    assert vmdk_node(path, follow=True)[1] == "dynamic"


@pytest.mark.parametrize("name", ["../secret", "{root}/secret", "link"])
def test_a_flat_extent_elsewhere_is_read_only_when_it_may_be_followed(tmp_path: Path, name: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "secret").write_bytes(bytes(1024))
    (here / "link").symlink_to(tmp_path / "secret")
    told = name.replace("{root}", str(tmp_path))
    path = put_descriptor(here / "a.vmdk", f'RW 2 FLAT "{told}" 0')
    with pytest.raises(DiskError, match="lies outside of its directory") as caught:
        vmdk_node(path)
    assert "--follow" in caught.value.hint
    assert vmdk_node(path, follow=True)[1] == "fixed"


@pytest.mark.parametrize("blank", [" ", "\t", "\r", "\x0b", "\x0c", "\u00a0", "\n"])
@pytest.mark.parametrize("place", ["before", "between"])
def test_an_extent_that_only_qemu_would_see_is_refused(tmp_path: Path, blank: str, place: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "secret").write_bytes(bytes(1024))
    (here / "own").write_bytes(bytes(1024))
    line = f'RW 2 FLAT "{tmp_path}/secret" 0'
    hidden = blank + line if place == "before" else line.replace(" ", blank, 1)
    path = here / "a.vmdk"
    path.write_bytes((DESCRIPTOR + 'RW 2 FLAT "own" 0\n' + hidden + "\n").encode())
    with pytest.raises(DiskError, match=r"lies outside of its directory|of the descriptor cannot be"):
        vmdk_node(path)


@pytest.mark.parametrize("line", ["RW 2 ZERO", 'RDONLY 2 FLAT "own" 0', 'RW 2 VMFSSPARSE "own"'])
def test_extents_that_qemu_would_skip_or_misread_are_refused_by_name(tmp_path: Path, line: str) -> None:
    (tmp_path / "own").write_bytes(bytes(1024))
    path = put_descriptor(tmp_path / "a.vmdk", 'RW 2 FLAT "own" 0', line)
    with pytest.raises(DiskError, match="are not read"):
        vmdk_node(path)


def test_an_esx_sparse_extent_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.vmdk"
    path.write_bytes(b"COWD" + bytes(4096))
    with pytest.raises(DiskError, match="ESX sparse extent"):
        vmdk_node(path)


def test_a_grain_table_that_is_named_often_is_read_once(tmp_path: Path) -> None:
    directory = [2000] * 100_000
    path = put_sparse_extent(tmp_path / "a.vmdk", directory)
    with path.open("r+b") as file:
        file.truncate(2000 * 512 + 2048)
    start = time.process_time()
    assert vmdk_node(path)[1] == "dynamic"
    assert time.process_time() - start < 1  # seconds; 51 million entries one by one take more


def test_an_l2_table_that_is_named_often_is_read_once(tmp_path: Path) -> None:
    path = put_qcow2(tmp_path / "a", bits=21, l1=(4 << 21,) * 200_000)
    with path.open("r+b") as file:
        file.seek(4 << 21)
        file.write(b"\0" * 8 + (4 << 21).to_bytes(8, "big"))
        file.truncate(5 << 21)
    start = time.process_time()
    assert qcow2_node(path)[1] == "dynamic"
    assert time.process_time() - start < 2  # seconds; 50 thousand million entries never end


def test_l2_tables_that_are_holes_cost_nothing(tmp_path: Path) -> None:
    path = put_qcow2(tmp_path / "a", bits=21, l1=tuple(number << 21 for number in range(4, 50_000)))
    with path.open("r+b") as file:
        file.truncate(50_000 << 21)  # 100 GiB
    start = time.process_time()
    assert qcow2_node(path)[1] == "dynamic"
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("entry", "cut"),
    [
        (0, False),
        (3 * CLUSTER, False),
        (1 << 63 | 3 * CLUSTER, False),
        (4 * CLUSTER - 512, False),
        (4 * CLUSTER, True),
        (1 << 63 | 5 * CLUSTER, True),
        (0x00FFFFFFFFFF0000, True),
        (5 * CLUSTER | 1, False),  # reads as zeros
        (1 << 62 | 4 * CLUSTER - 1, False),
        (1 << 62 | 4 * CLUSTER, True),
        (1 << 62 | 4 * CLUSTER | 1, True),  # of a compressed cluster that bit is the offset's
        (1 << 62 | 1 << 55 | 4 * CLUSTER - 1, False),  # bits of its length
    ],
)
@pytest.mark.parametrize("at", [0, 1, 4095, 8191])
def test_a_cluster_behind_the_end_of_the_file_is_found_anywhere(
    tmp_path: Path, entry: int, cut: bool, at: int
) -> None:
    path = put_qcow2(tmp_path / "a", l1=(2 * CLUSTER,))
    table = [0] * (CLUSTER // 8)
    table[at] = entry
    with path.open("r+b") as file:
        file.seek(2 * CLUSTER)
        file.write(struct.pack(f">{len(table)}Q", *table))
        file.truncate(4 * CLUSTER)
    if cut:
        with pytest.raises(DiskError, match="its data reaches to byte"):
            qcow2_node(path)
    else:
        assert qcow2_node(path)[1] == "dynamic"


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_all_entries_at_once_are_judged_as_one_by_one(extended: bool, seed: int) -> None:
    header = qcow2.Header(None, 9, 0, 0, extended)
    rng = random.Random(seed)
    for _ in range(50):
        top = rng.choice([10, 20, 40, 56])
        table = struct.pack(
            ">64Q",
            *(rng.getrandbits(top) | rng.choice([0, 1 << 63, 1 << 62, 1]) for _ in range(64)),
        )
        limit = rng.getrandbits(rng.choice([top, 40]))
        expected = qcow2._last_cluster(table, header) <= limit
        assert qcow2._Lanes.of(header, limit).all_within(table) == expected


def test_an_l2_table_within_a_cluster_is_refused(tmp_path: Path) -> None:
    path = put_qcow2(tmp_path / "a", l1=(2 * CLUSTER + 512,))
    with pytest.raises(DiskError, match="begins within a cluster"):
        qcow2_node(path)
