"""A Windows on disks made by mkntfs, libntfs-3g and mtools: NTFS read, facts, checks, damage."""

from __future__ import annotations

import random
import shutil
import struct
import time
from pathlib import Path
from uuid import UUID

import pytest

import vmstamp.disk
from tests.oracle.ntfs_images import add_junction, make_ntfs, missing
from tests.oracle.test_guest_disks import make_esp
from tests.unit.guest.hives import build_hive
from tests.unit.guest.windows_guests import (
    CONFIG,
    DISK_GUID,
    ESP_GUID,
    FILES,
    ROOT_GUID,
    SAM,
    SIGNATURE,
    SOFTWARE,
    SYSTEM,
    bcd,
    changed,
)
from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import EFI_SYSTEM, MICROSOFT_BASIC_DATA, NewPartition, build_gpt
from vmstamp.errors import GuestError
from vmstamp.guest.files.fs import Files, open_root, survey
from vmstamp.guest.files.volume import Kind
from vmstamp.guest.finding import Status
from vmstamp.guest.inspect import Report, inspect

MIB = 1 << 20
ESP_SIZE, NTFS_SIZE = 4 * MIB, 64 * MIB
ROOT_START = MIB + ESP_SIZE

pytestmark = pytest.mark.skipif(
    bool(missing()) or not shutil.which("mformat"), reason=f"{missing() or 'mtools'} is missing"
)


def windows_files(start: int = ROOT_START) -> dict[str, bytes]:
    texts = {path: data if isinstance(data, bytes) else data.encode() for path, data in FILES.items()}
    hives = {"SYSTEM": SYSTEM, "SOFTWARE": SOFTWARE, "SAM": SAM}
    store = changed(bcd(1), {})
    for values in store.values():
        element = values.get("Element")
        if isinstance(element, bytes) and len(element) > 80:
            values["Element"] = element.replace(struct.pack("<Q", 512 * MIB), struct.pack("<Q", start))
    return {
        **texts,
        **{f"{CONFIG}/{name}": build_hive(tree) for name, tree in hives.items()},
        "/bootmgr": b"x",
        "/Boot/BCD": build_hive(store),
    }


@pytest.fixture(scope="module")
def ntfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = tmp_path_factory.mktemp("ntfs") / "ntfs.img"
    make_ntfs(image, NTFS_SIZE, windows_files())
    return image


@pytest.fixture(scope="module")
def gen1(ntfs: Path) -> Path:
    """An MBR with the one partition that Windows and bootmgr share."""
    path = ntfs.with_name("gen1.raw")
    entry = struct.pack("<B3sB3sII", 0x80, bytes(3), 7, bytes(3), ROOT_START // 512, NTFS_SIZE // 512)
    sector = (
        b"\x33\xc0".ljust(440, b"\0") + struct.pack("<IH", SIGNATURE, 0) + entry + bytes(48) + b"\x55\xaa"
    )
    with path.open("wb") as file:
        file.truncate(ROOT_START + NTFS_SIZE + MIB)
        file.write(sector)
        file.seek(ROOT_START)
        file.write(ntfs.read_bytes())
    return path


@pytest.fixture(scope="module")
def gen2(ntfs: Path) -> Path:
    path = ntfs.with_name("gen2.raw")
    loader = {"EFI/Boot/bootx64.efi": b"MZ", "EFI/Microsoft/Boot/bootmgfw.efi": b"MZ"}
    esp = make_esp(
        ntfs.with_name("esp.img"),
        {**loader, "EFI/Microsoft/Boot/BCD": build_hive(bcd(2))},
        ntfs.parent,
    )
    parts = [
        NewPartition(EFI_SYSTEM, "EFI", MIB, ESP_SIZE, ESP_GUID),
        NewPartition(MICROSOFT_BASIC_DATA, "Windows", ROOT_START, NTFS_SIZE, ROOT_GUID),
    ]
    size = ROOT_START + NTFS_SIZE + MIB
    table = build_gpt(size, parts, DISK_GUID)
    with path.open("wb") as file:
        file.truncate(size)
        file.write(table.head)
        for part, source in zip(parts, (esp, ntfs), strict=True):
            file.seek(part.start)
            file.write(source.read_bytes())
        file.seek(table.tail_offset)
        file.write(table.tail)
    return path


def open_disk(path: Path) -> Disk:
    return vmstamp.disk.open(path)


def fails(report: Report) -> set[str]:
    return {finding.id for finding in report.problems if finding.id.startswith(("win-", "gen"))}


@pytest.mark.parametrize(("name", "generation"), [("gen1", 1), ("gen2", 2)])
def test_a_windows_is_named_and_passes(name: str, generation: int, request: pytest.FixtureRequest) -> None:
    with open_disk(request.getfixturevalue(name)) as disk:
        report = inspect(disk)
    assert report.os is not None
    assert (report.os.kind, report.os.pretty_name) == ("Windows", "Windows Server 2022 Datacenter")
    assert (report.generations, report.architecture) == ((generation,), "x86_64")
    assert fails(report) == set()
    root = next(part for part in report.partitions if part.number == report.root)
    assert (root.content, root.label, root.note) == ("ntfs", "Windows", "")
    assert len(root.uuid) == 16


def test_names_know_no_case_and_files_are_read(gen1: Path) -> None:
    with open_disk(gen1) as disk:
        files = open_root(disk)
        assert files.read_bytes("/WINDOWS/system32/CONFIG/system") == build_hive(SYSTEM)
        assert files.is_directory("/windows/SYSTEM32")
        assert "ntoskrnl.exe" in files.list("/windows/system32")
        assert files.find("/windows/none/x") is None
        assert files.find("/windows\\system32") is None
        node = files.find("/Windows")
        assert node is not None and node.kind is Kind.DIRECTORY


def test_a_dirty_volume_is_told(gen1: Path, tmp_path: Path) -> None:
    path = tmp_path / "dirty.raw"
    data = bytearray(gen1.read_bytes())
    record = _volume_record(data, ROOT_START)
    information = data.index(struct.pack("<II", 0x70, 0x28), record)
    data[information + 0x18 + 0x0A] |= 1
    path.write_bytes(data)
    with open_disk(path) as disk:
        found = {finding.id: finding for finding in inspect(disk).findings}["fs-dirty"]
    assert found.status is Status.WARNING
    assert "chkdsk" in found.found


def _volume_record(data: bytearray, start: int) -> int:
    sector, per_cluster = struct.unpack_from("<HB", data, start + 0x0B)
    cluster = struct.unpack_from("<Q", data, start + 0x30)[0]
    return start + int(cluster) * int(sector) * int(per_cluster) + 3 * 1024


def test_a_reparse_point_stays_in_the_volume(tmp_path: Path) -> None:
    image = tmp_path / "links.img"
    make_ntfs(image, 16 * MIB, {"/Users/x": b"here", "/Documents and Settings/": b"", "/server/": b""})
    add_junction(image, "/Documents and Settings", "\\??\\C:\\Users")
    add_junction(image, "/server", "\\??\\UNC\\server\\share")
    with open_disk(image) as disk:
        volume = survey(disk).contents[0].volume
        assert volume is not None
        files = Files({"/": volume})
        assert files.readlink("/documents and settings") == "/Users"
        assert files.read_bytes("/Documents and Settings/X") == b"here"
        with pytest.raises(GuestError, match="out of the volume"):
            files.find("/server/x")


def test_damage_is_told_and_never_hangs(gen1: Path, tmp_path: Path) -> None:
    whole = gen1.read_bytes()
    used = [at for at in range(ROOT_START, len(whole), 4096) if any(whole[at : at + 4096])]
    for seed in range(25):
        numbers = random.Random(seed)
        data = bytearray(whole)
        for _ in range(numbers.choice((3, 30, 300))):
            data[numbers.choice(used) + numbers.randrange(4096)] = numbers.randrange(256)
        path = tmp_path / "damaged.raw"
        path.write_bytes(data)
        begun = time.monotonic()
        with open_disk(path) as disk:
            try:
                report = inspect(disk)
                assert all(finding.found for finding in report.findings)
            except GuestError as error:
                assert error.message
        assert time.monotonic() - begun < 20


def test_a_large_volume_is_looked_at_fast(tmp_path: Path) -> None:
    """127 GiB, as Windows disks are, with a SOFTWARE hive of 60 MiB."""
    image = tmp_path / "large.raw"
    filler = {rf"Classes\CLSID\{{{UUID(int=n)}}}": {"x": bytes(900)} for n in range(45_000)}
    make_ntfs(image, 127 << 30, {**windows_files(), f"{CONFIG}/SOFTWARE": build_hive({**SOFTWARE, **filler})})
    begun = time.process_time()
    with open_disk(image) as disk:
        report = inspect(disk)
    assert report.os is not None and report.os.kind == "Windows"
    assert time.process_time() - begun < 2


def test_a_volume_without_windows_is_no_root(tmp_path: Path) -> None:
    image = tmp_path / "data.raw"
    make_ntfs(image, 16 * MIB, {"/Data/x": b"x"}, label="Data")
    with open_disk(image) as disk:
        found = survey(disk)
    assert found.root is None
    assert found.contents[0].file_system is not None
    assert found.contents[0].file_system.label == "Data"
