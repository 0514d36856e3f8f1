"""Parent locators as their makers and those with bad intent write them: literals, not our own writer."""

from __future__ import annotations

import os
import shlex
import struct
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.file import ImageFile
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhd_locator import ParentReference, parse_reference
from vmstamp.errors import DiskError

MIB = 1024 * 1024
DATA_AT = 2048


def header(*locators: tuple[bytes, int, int, int], name: str = "") -> bytes:
    """A dynamic disk header with (platform code, data space, data length, data offset) at 576."""
    data = bytearray(1024)
    data[40:56] = b"i" * 16
    struct.pack_into(">I", data, 56, 86400)
    data[64 : 64 + 2 * len(name)] = name.encode("utf-16-be")
    for index, (code, space, length, offset) in enumerate(locators):
        struct.pack_into(">4sIIIQ", data, 576 + 24 * index, code, space, length, 0, offset)
    return bytes(data)


def parse(directory: Path, head: bytes, values: bytes = b"") -> ParentReference:
    path = directory / "child.vhd"
    path.write_bytes(bytes(DATA_AT) + values.ljust(2048, b"\0"))
    file = ImageFile(path)
    try:
        return parse_reference(head, file, 512)
    finally:
        file.close()


@pytest.mark.parametrize("space", [0, 1, 512], ids=["left-out", "in-sectors", "in-bytes"])
def test_the_data_space_may_be_in_sectors_or_in_bytes(tmp_path: Path, space: int) -> None:
    name = ".\\base.vhd".encode("utf-16-le")
    assert parse(tmp_path, header((b"W2ru", space, len(name), DATA_AT)), name).names == (".\\base.vhd",)


def test_the_relative_name_comes_first_and_the_plain_name_last(tmp_path: Path) -> None:
    absolute, relative = "C:\\vm\\b.vhd".encode("utf-16-le"), "..\\b.vhd".encode("utf-16-le")
    url = b"file://host/vm/a%20b.vhd"
    values = absolute.ljust(512, b"\0") + relative.ljust(512, b"\0") + url
    head = header(
        (b"MacX", 1, len(url), DATA_AT + 1024),
        (b"W2ku", 1, len(absolute), DATA_AT),
        (b"W2ru", 1, len(relative), DATA_AT + 512),
        name="plain.vhd",
    )
    assert parse(tmp_path, head, values).names == ("..\\b.vhd", "C:\\vm\\b.vhd", "/vm/a b.vhd", "plain.vhd")


def test_what_is_no_url_names_nothing(tmp_path: Path) -> None:
    url = b"file://[not-an-address/x"
    assert parse(tmp_path, header((b"MacX", 1, len(url), DATA_AT), name="b.vhd"), url).names == ("b.vhd",)


def test_unknown_platform_codes_are_passed_over(tmp_path: Path) -> None:
    assert parse(tmp_path, header((b"Wi2r", 1, 2**32 - 1, 2**64 - 1), name="b.vhd")).names == ("b.vhd",)


@pytest.mark.parametrize(
    ("length", "offset"), [(2**32 - 1, DATA_AT), (65537, DATA_AT), (64, 2**64 - 1), (64, 4090)]
)
def test_a_locator_that_claims_too_much_is_refused(tmp_path: Path, length: int, offset: int) -> None:
    with pytest.raises(DiskError, match="is not inside the file") as caught:
        parse(tmp_path, header((b"W2ku", 1, length, offset)))
    assert caught.value.offset == 512 + 576


def test_a_parent_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    base = tmp_path / os.fsdecode(b"base\xff.vhd")
    disk.convert(MemoryDisk(MIB, {}), base, "vhd-dynamic")
    with disk.open(base) as parent, pytest.raises(DiskError, match="is not UTF-8"):
        create_child(tmp_path / "child.vhd", parent)
    assert not (tmp_path / "child.vhd").exists()


def test_the_hint_for_a_copied_parent_can_be_given_to_a_shell(tmp_path: Path) -> None:
    base, child = tmp_path / "base $(touch x); y.vhd", tmp_path / "child.vhd"
    disk.convert(MemoryDisk(MIB, {}), base, "vhd-dynamic")
    os.utime(base, (1_700_000_000, 1_700_000_000))
    with disk.open(base) as parent:
        create_child(child, parent)
    os.utime(base, (1_600_000_000, 1_600_000_000))
    with pytest.raises(DiskError, match="was changed at") as caught:
        disk.open(child)
    command = caught.value.hint.removeprefix("if it was only copied: ")
    assert shlex.split(command) == ["touch", "-d", "@1700000000", str(base)]
    assert caught.value.offset == 512 + 56
