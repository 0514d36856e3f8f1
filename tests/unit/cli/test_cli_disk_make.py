"""Sizes, links and warnings of the commands that write disk files."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from vmstamp import disk
from vmstamp.cli.commands.disk_look import MANY_EXTENTS, moved_size
from vmstamp.cli.commands.disk_make import Size, convert, create, merge, resize
from vmstamp.disk.create import create_child
from vmstamp.disk.memory import MemoryDisk

MIB, GIB = 1024**2, 1024**3


def call(command: click.Command, *words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    disk.convert(MemoryDisk(4 * MIB, {MIB: b"data"}), tmp_path / "base.vhdx")
    return tmp_path / "base.vhdx"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1073741824", GIB),
        ("10G", 10 * GIB),
        ("10g", 10 * GIB),
        ("10 GiB", 10 * GIB),
        ("10GB", 10 * GIB),
        ("512MiB", 512 * MIB),
        ("4K", 4096),
        ("64T", 64 * 1024 * GIB),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_a_size_has_units_that_are_powers_of_1024(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "0G", "-1", "G", "1.5G", "1X", "0x10", "1e9", "9" * 5000])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a size"):
        Size().convert(text, None, None)


@pytest.mark.parametrize("text", ["9223372036854775808", "8388608T", "9999999999T"])
def test_a_size_that_no_file_can_have_is_refused(tmp_path: Path, text: str) -> None:
    result = call(create, tmp_path / "a.raw", "--size", text)
    assert result.exit_code == 2
    assert "more than a file can hold" in result.output


def test_a_plan_refuses_what_the_format_cannot_hold(base: Path) -> None:
    result = call(resize, base, "65T", "--plan")
    assert "a dynamic VHDX cannot hold 71468255805440 bytes; 70368744177664 are the most" in str(
        result.exception
    )


def test_resizing_a_link_resizes_the_file_behind_it(base: Path) -> None:
    link = base.with_name("link.vhdx")
    link.symlink_to(base.name)
    assert call(resize, link, "8M").exit_code == 0
    assert link.is_symlink()
    with disk.open(base) as resized:
        assert resized.size == 8 * MIB


@pytest.mark.parametrize("words", [[], ["--plan"], ["--keep"]])
def test_merge_warns_of_the_parents_other_children(base: Path, words: list[str]) -> None:
    child = base.with_name("child.vhdx")
    with disk.open(base) as parent:
        create_child(child, parent)
    result = call(merge, child, *words)
    assert f"other children of {base} cannot be read any more" in result.output
    assert (f"{child} and other children" in result.output) is ("--keep" in words)


def test_a_bar_counts_what_is_read_not_the_holes() -> None:
    assert moved_size(MemoryDisk(GIB, {0: b"ab", 5 * MIB: b"c"})) == 3


def test_a_bar_of_very_many_pieces_goes_to_the_disks_size() -> None:
    pieces = {number * 2: b"x" for number in range(MANY_EXTENTS + 1)}
    assert moved_size(MemoryDisk(GIB, pieces)) == GIB


def test_a_conversion_tells_its_rate(base: Path) -> None:
    result = call(convert, base, base.with_suffix(".raw"))
    assert re.search(r"allocated, in [\d.]+ s \([\d.]+ [KMG]iB/s\)", result.output)


def test_an_empty_disk_has_no_rate(tmp_path: Path) -> None:
    assert "/s" not in call(create, tmp_path / "a.raw", "--size", "1M").output.replace(str(tmp_path), "")
