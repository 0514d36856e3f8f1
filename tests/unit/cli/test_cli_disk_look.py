"""`vmstamp disk info`, `map` and `compare`, as people and programs see them."""

from __future__ import annotations

import json
import shlex
import struct
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from vmstamp import disk
from vmstamp.cli.commands.disk_look import shade
from vmstamp.cli.main import cli
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import LINUX_FILE_SYSTEM, GptImage, NewPartition, build_gpt

MIB = 1024 * 1024
SIZE = 64 * MIB


def call(*words: str | Path, charset: str = "utf-8") -> Result:
    return CliRunner(charset=charset).invoke(cli, ["disk", *map(str, words)], prog_name="vmstamp")


def gpt_of(*names: str) -> GptImage:
    parts = [
        NewPartition(LINUX_FILE_SYSTEM, name, (1 + 16 * index) * MIB, 16 * MIB, uuid4())
        for index, name in enumerate(names)
    ]
    return build_gpt(SIZE, parts, uuid4())


def write_disk(path: Path, gpt: GptImage) -> Path:
    """A disk with `gpt`, 4 MiB of data in its first partition, and 1 MiB at 40 MiB."""
    pieces = {0: gpt.head, 2 * MIB: b"x" * 4 * MIB, 40 * MIB: b"y" * MIB, gpt.tail_offset: gpt.tail}
    disk.convert(MemoryDisk(SIZE, pieces), path)
    return path


def test_the_map_tells_how_full_each_partition_is(tmp_path: Path) -> None:
    told = call("map", write_disk(tmp_path / "a.raw", gpt_of("system", "root"))).output
    rows = [" ".join(line.split()) for line in told.splitlines() if line.startswith(("1 ", "2 "))]
    assert rows == [
        "1 1.0 MiB 17.0 MiB 4.0 MiB 25.0 % system",
        "2 17.0 MiB 33.0 MiB 0 B 0.0 % root",
    ]


def test_the_map_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    told = call("map", write_disk(tmp_path / "a.raw", gpt_of("root"))).output
    assert max(map(len, told.splitlines())) <= 80
    assert "|" in told


def test_the_map_is_plain_where_the_terminal_is(tmp_path: Path) -> None:
    result = call("map", write_disk(tmp_path / "a.raw", gpt_of("Größe")), charset="ascii")
    assert result.exit_code == 0, result.output
    assert "####" in result.output
    assert "Gr??e" in result.output


def test_a_partition_name_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    told = call("map", write_disk(tmp_path / "a.raw", gpt_of("\x1b[2Jroot"))).output
    assert "\x1b" not in told
    assert "?[2Jroot" in told


def test_a_disk_with_a_broken_partition_table_still_has_a_map(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "a.raw", gpt_of("root"))
    with path.open("r+b") as file:
        file.seek(512)
        file.write(bytes(512))
        file.seek(SIZE - 512)
        file.write(bytes(512))
    result = call("map", path)
    assert result.exit_code == 0
    assert "note: a protective MBR says that there is a GPT" in result.output


def test_the_json_map_has_partitions_totals_and_extents(tmp_path: Path) -> None:
    told = json.loads(call("map", "--json", write_disk(tmp_path / "a.raw", gpt_of("root"))).stdout)
    assert told["extent_count"] == len(told["extents"])
    assert told["data"] == sum(extent["length"] for extent in told["extents"])
    part = told["partitions"][0]
    assert (part["number"], part["name"], part["start"]) == (1, "root", MIB)
    assert (part["length"], part["data"]) == (16 * MIB, 4 * MIB)


@pytest.mark.parametrize(
    ("filled", "expected"),
    [(0, " "), (1, "."), (33, "."), (34, ":"), (67, "+"), (99, "+"), (100, "#")],
)
def test_a_cell_is_blank_only_when_empty_and_full_only_when_full(filled: int, expected: str) -> None:
    assert shade(filled, 100, " .:+#") == expected


def test_the_command_that_mends_survives_a_shell(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "my disk $HOME.raw", gpt_of("root"))
    words = shlex.split(json.loads(call("info", "--json", path).stdout)["azure"]["mend"])
    assert words == ["vmstamp", "disk", "convert", str(path), str(path.with_suffix(".vhd"))]


def test_a_creator_sends_nothing_to_the_terminal(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "a.vhdx", gpt_of("root"))
    with path.open("r+b") as file:
        file.seek(8)  # the creator, UTF-16; [MS-VHDX] 2.2.1
        file.write("\x1b[2Jevil\0".encode("utf-16-le"))
    assert "?[2Jevil" in call("info", path).output


def test_info_tells_the_time_that_a_vhd_was_made(tmp_path: Path) -> None:
    path = write_disk(tmp_path / "a.vhd", gpt_of("root"))
    with path.open("r+b") as file:
        file.seek(-512, 2)
        footer = bytearray(file.read())
        struct.pack_into(">I", footer, 24, 86400)  # seconds since 2000; VHD 1.0
        struct.pack_into(">I", footer, 64, 0)
        struct.pack_into(">I", footer, 64, ~sum(footer) & 0xFFFFFFFF)
        file.seek(-512, 2)
        file.write(footer)
    assert "created       2000-01-02 00:00:00 UTC" in call("info", path).output


def test_the_json_of_compare_has_the_difference(tmp_path: Path) -> None:
    one = write_disk(tmp_path / "a.raw", gpt := gpt_of("root"))
    other = write_disk(tmp_path / "b.vhdx", gpt)
    assert json.loads(call("compare", "--json", one, other).stdout)["difference"] is None
    with one.open("r+b") as file:
        file.seek(50 * MIB)
        file.write(b"!")
    result = call("compare", "--json", one, other)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["difference"] == {"offset": 50 * MIB, "left": ord("!"), "right": 0}
