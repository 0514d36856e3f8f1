"""The commands of `vmstamp disk`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from vmstamp import disk
from vmstamp.cli.main import cli
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, NewPartition, build_gpt, read_partitions

MIB = 1024 * 1024
PIECES = {0: b"begin", 3 * MIB + 5: b"x" * 100_000}


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["disk", *map(str, words)], prog_name="vmstamp")


def document(*words: str | Path) -> dict[str, Any]:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    disk.convert(MemoryDisk(30 * MIB + 512, PIECES), tmp_path / "a.raw")
    return tmp_path / "a.raw"


@pytest.mark.parametrize(
    ("name", "to", "format", "subformat", "accepted"),
    [
        ("a.img", [], "raw", "", False),
        ("a.vhd", [], "vhd", "fixed", True),
        ("b.vhd", ["--to", "vhd-dynamic"], "vhd", "dynamic", False),
        ("a.vhdx", [], "vhdx", "dynamic", False),
        ("b.vhdx", ["--to", "vhdx-fixed"], "vhdx", "fixed", False),
    ],
)
def test_what_is_converted_is_told_and_holds_the_same(
    raw: Path, name: str, to: list[str], format: str, subformat: str, accepted: bool
) -> None:
    path = raw.with_name(name)
    made = document("convert", raw, path, *to)
    told = document("info", path)
    assert (made["format"], made["subformat"]) == (format, subformat)
    assert (told["format"], told["subformat"]) == (format, subformat)
    assert made["virtual_size"] == told["virtual_size"]
    assert told["azure"]["ok"] is accepted
    assert told["allocated"] < MIB < told["virtual_size"]
    assert document("compare", raw, path)["same"] is True


def test_the_command_that_mends_is_one_that_runs(raw: Path) -> None:
    words = document("info", raw)["azure"]["mend"].split()
    assert words[:3] == ["vmstamp", "disk", "convert"]
    assert call(*words[2:]).exit_code == 0
    assert document("info", words[-1])["azure"] == {"ok": True, "mend": None, "findings": []}


def test_rounding_is_said(raw: Path) -> None:
    result = call("convert", raw, raw.with_suffix(".vhd"))
    assert f"rounded up by {MIB - 512} zero bytes to {31 * MIB} bytes" in result.output


def test_compare_tells_the_first_difference_and_exits_with_1(raw: Path) -> None:
    other = raw.with_name("b.raw")
    disk.convert(MemoryDisk(30 * MIB + 512, {**PIECES, 7 * MIB: b"!"}), other)
    result = call("compare", raw, other)
    assert result.exit_code == 1
    assert f"differ first at byte {7 * MIB}: 0x00 and 0x21" in result.output


def test_more_zeros_are_a_difference_only_when_asked(raw: Path) -> None:
    longer = raw.with_name("b.raw")
    assert call("convert", raw, longer, "--size", "40M").exit_code == 0
    assert call("compare", raw, longer).exit_code == 0
    assert call("compare", raw, longer, "--strict").exit_code == 1


def test_map_gives_the_extents(raw: Path) -> None:
    told = document("map", raw)
    assert told["data"] == sum(extent["length"] for extent in told["extents"])
    assert told["extents"][0]["start"] == 0
    picture = call("map", raw, "--width", "8").output
    assert "30.0 MiB is data" in picture


def test_a_created_disk_is_empty_and_of_the_size_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "data.vhdx"
    assert document("create", path, "--size", "64T")["virtual_size"] == 64 << 40
    assert document("map", path)["extents"] == []


@pytest.mark.parametrize("name", ["a.vhd", "a.vhdx"])
def test_a_child_is_created_and_tells_its_parent(raw: Path, name: str) -> None:
    base, child = raw.with_name(name), raw.with_name(f"child-{name}")
    document("convert", raw, base)
    assert document("create", child, "--parent", base)["subformat"] == "differencing"
    assert document("info", child)["parents"] == [str(base)]
    assert document("compare", raw, child)["same"] is True


@pytest.mark.parametrize("to", ["raw", "vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed"])
@pytest.mark.parametrize("size", [4 * MIB, 60 * MIB])
def test_a_resized_disk_keeps_its_format_id_and_data(raw: Path, to: str, size: int) -> None:
    path = raw.with_name("disk")
    document("convert", raw, path, "--to", to)
    before = document("info", path)
    assert document("resize", path, str(size), "--plan")["done"] is False
    assert document("info", path) == before
    document("resize", path, str(size))
    after = document("info", path)
    assert after["virtual_size"] == size
    assert all(after[key] == before[key] for key in ("format", "subformat", "unique_id", "block_size"))
    with disk.open(path) as opened:
        assert opened.read(0, 5) + opened.read(3 * MIB + 5, 1) == b"beginx"


def test_a_disk_is_not_cut_through_its_data(raw: Path) -> None:
    result = call("resize", raw, "2M")
    assert result.exit_code == 1
    assert f"at byte {3 * MIB + 5}: there is data behind the new end" in result.output
    assert raw.stat().st_size == 30 * MIB + 512


def test_a_disk_is_not_cut_through_a_partition(raw: Path) -> None:
    part = NewPartition(LINUX_FILE_SYSTEM, "root", MIB, 8 * MIB, uuid4())
    gpt = build_gpt(30 * MIB, [part], uuid4())
    disk.convert(MemoryDisk(30 * MIB, {0: gpt.head, gpt.tail_offset: gpt.tail}), raw)
    result = call("resize", raw, "9M")
    assert result.exit_code == 1
    assert f"partition 1 ends at byte {9 * MIB}" in result.output
    assert call("resize", raw, "10M").exit_code == 0
    with disk.open(raw) as opened:
        assert read_partitions(opened).notes == ()


@pytest.mark.parametrize("name", ["a.vhd", "a.vhdx"])
def test_a_child_is_merged_into_its_parent(raw: Path, name: str) -> None:
    base, child = raw.with_name(name), raw.with_name(f"child-{name}")
    document("convert", raw, base)
    document("create", child, "--parent", base)
    before = document("info", base)["unique_id"]
    assert document("merge", child, "--plan")["steps"] == [f"write {child} over {base}", f"remove {child}"]
    assert child.exists()
    document("merge", child)
    assert not child.exists()
    assert document("info", base)["unique_id"] == before
    assert document("compare", raw, base)["same"] is True


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("convert", "{raw}", "-"), 2, "'-' is not taken"),
        (("convert", "-", "{raw}"), 2, "'-' is not taken"),
        (("convert", "{raw}", "{raw}"), 1, "is the source itself"),
        (("convert", "{raw}", "{raw}.xyz"), 2, "does not tell a format"),
        (("create", "{raw}.xyz", "--size", "1M"), 2, "or pass --to"),
        (("convert", "{raw}", "{raw}.vhd", "--size", "1M"), 2, "cuts a disk"),
        (("create", "{raw}", "--size", "1M"), 1, "is there already"),
        (("create", "{raw}.vhd"), 2, "either --size or --parent"),
        (("create", "{raw}.vhd", "--parent", "{raw}"), 1, "a raw disk cannot be the parent"),
        (("create", "{raw}.vhd", "--size", "0"), 2, "not a size"),
        (("create", "{raw}.vhd", "--size", "-5"), 2, "not a size"),
        (("create", "{raw}.vhd", "--size", "ten"), 2, "not a size"),
        (("resize", "{raw}", "1000"), 1, "not a whole number of sectors"),
        (("merge", "{raw}"), 1, "has no parent"),
        (("info", "{raw}.none"), 1, "no such file"),
    ],
)
def test_bad_input_is_refused_by_name(raw: Path, words: tuple[str, ...], status: int, said: str) -> None:
    before = raw.read_bytes()
    result = call(*(word.replace("{raw}", str(raw)) for word in words))
    assert result.exit_code == status
    assert said in result.output
    assert raw.read_bytes() == before
    assert [entry.name for entry in raw.parent.iterdir()] == [raw.name]
