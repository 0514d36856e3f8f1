"""What check finds, and what repair makes of it, for us and for QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.disk.vhdx_log import MIB, log_entry, put_log
from vmstamp import disk
from vmstamp.disk.check import Report, check, repair
from vmstamp.disk.memory import MemoryDisk
from vmstamp.run import run

CONTENT = MemoryDisk(9 * MIB, {0: b"a" * MIB, 5 * MIB: b"b" * 3 * MIB})
KINDS = ["vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed"]


def make(directory: Path, kind: str) -> Path:
    path = directory / "disk"
    disk.convert(CONTENT, path, kind)
    return path


def spoil(path: Path, at: int, data: bytes) -> None:
    """Overwrite bytes; a negative `at` counts from the end."""
    with path.open("r+b") as file:
        file.seek(at, 2 if at < 0 else 0)
        file.write(data)


def found(report: Report) -> list[tuple[int | None, bool]]:
    return [(problem.offset, bool(problem.repair)) for problem in report.problems]


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_write_is_sound(tmp_path: Path, kind: str) -> None:
    assert check(make(tmp_path, kind)).state == "sound"


@pytest.mark.parametrize(
    "options", [["vpc"], ["vhdx"], ["vhdx", "-o", "block_size=8M"], ["vpc", "-o", "subformat=fixed"]]
)
def test_what_qemu_writes_is_sound(tmp_path: Path, options: list[str]) -> None:
    raw, path = tmp_path / "raw", tmp_path / "disk"
    disk.convert(CONTENT, raw, "raw")
    run(["qemu-img", "convert", "-f", "raw", "-O", *options, raw, path])
    assert check(path).problems == ()


@pytest.mark.parametrize(
    ("kind", "at", "problems"),
    [
        ("vhd-dynamic", -512, "end"),
        ("vhd-dynamic", 100, 0),
        ("vhdx", 64 * 1024 + 100, 64 * 1024),
        ("vhdx", 128 * 1024 + 100, 128 * 1024),
        ("vhdx", 192 * 1024 + 30, 192 * 1024),
        ("vhdx", 256 * 1024 + 30, 256 * 1024),
    ],
)
def test_damage_with_a_second_copy_is_repaired(
    tmp_path: Path, kind: str, at: int, problems: int | str
) -> None:
    path, mended = make(tmp_path, kind), tmp_path / "mended"
    spoil(path, at, b"!!!!")
    before = path.read_bytes()
    expected = path.stat().st_size - 512 if problems == "end" else problems
    assert found(check(path)) == [(expected, True)]
    repair(path, mended)
    assert path.read_bytes() == before
    assert check(mended).state == "sound"
    with disk.open(mended) as opened:
        assert disk.compare(opened, CONTENT) is None


def test_a_511_byte_footer_is_made_whole(tmp_path: Path) -> None:
    path = make(tmp_path, "vhd-fixed")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert check(path).state == "repairable"
    repair(path, path)
    assert check(path).state == "sound"
    assert path.stat().st_size == 9 * MIB + 512


def test_a_log_is_replayed_into_the_copy_and_qemu_reads_it(tmp_path: Path) -> None:
    path, mended, plain = make(tmp_path, "vhdx"), tmp_path / "mended", tmp_path / "plain"
    put_log(
        path, [(0, log_entry(5, 0, [(4 * MIB, b"L" * 4096), (4 * MIB + 8192, 4096)], path.stat().st_size))]
    )
    with disk.open(path) as opened:
        expected = opened.read(0, opened.size)
    assert check(path).state == "repairable"
    repair(path, mended)
    assert check(mended).state == "sound"
    run(["qemu-img", "check", "-f", "vhdx", mended])
    run(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", mended, plain])
    assert plain.read_bytes() == expected
    assert expected[:4096] == b"L" * 4096


@pytest.mark.parametrize(
    ("kind", "at", "data", "spec"),
    [
        ("vhdx", 3 * MIB + 8 * 5, (4 * MIB | 6).to_bytes(8, "little"), "2.5.1.1"),  # two blocks in one place
        ("vhdx", 3 * MIB, (2 * MIB | 6).to_bytes(8, "little"), "2.5.1.1"),  # over the metadata
        ("vhdx", 3 * MIB, ((1 << 50) | 6).to_bytes(8, "little"), "2.5.1.1"),  # behind the end
        ("vhd-dynamic", 1536, (1).to_bytes(4, "big"), "Block Allocation Table"),  # over the structures
        ("vhd-dynamic", 1536, (1 << 30).to_bytes(4, "big"), "Block Allocation Table"),  # behind the end
        ("vhd-dynamic", 512, b"x", "Dynamic Disk Header"),
    ],
)
def test_damage_without_a_second_copy_is_broken(
    tmp_path: Path, kind: str, at: int, data: bytes, spec: str
) -> None:
    path = make(tmp_path, kind)
    spoil(path, at, data)
    report = check(path)
    assert report.state == "broken"
    assert spec in report.problems[0].spec
    assert report.problems[0].offset is not None
