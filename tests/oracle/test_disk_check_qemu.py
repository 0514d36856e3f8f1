"""check of qcow2, VMDK and VDI, which QEMU looks at; damage by the letter of the format."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

from vmstamp import disk
from vmstamp.cli.main import cli
from vmstamp.disk.check import check, repair
from vmstamp.errors import DiskError
from vmstamp.run import run

MIB = 1024 * 1024
CLUSTER = 65536


@pytest.fixture
def path(tmp_path: Path) -> Path:
    run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "disk.qcow2", "64M"])
    run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 8M", tmp_path / "disk.qcow2"])
    return tmp_path / "disk.qcow2"


def set_count(path: Path, cluster: int, count: int) -> None:
    """The references of a cluster, as its refcount block tells them."""
    data = path.read_bytes()
    (table,) = struct.unpack_from(">Q", data, 48)
    (block,) = struct.unpack_from(">Q", data, table)
    with path.open("r+b") as file:
        file.seek(block + 2 * cluster)
        file.write(struct.pack(">H", count))


def test_a_cluster_without_a_reference_is_repairable_and_mended(path: Path) -> None:
    set_count(path, 20, 0)
    report = check(path)
    assert report.state == "repairable"
    assert report.problems[0].offset == 20 * CLUSTER
    before = path.read_bytes()
    repair(path, path.with_name("mended"))
    assert check(path.with_name("mended")).state == "sound"
    assert path.read_bytes() == before
    with disk.open(path.with_name("mended")) as opened:
        assert opened.read(0, 8 * MIB) == b"\7" * (8 * MIB)
    repair(path, path)
    assert check(path).state == "sound"


def test_a_leaked_cluster_is_repairable(path: Path) -> None:
    set_count(path, 21, 5)
    assert check(path).state == "repairable"


def test_two_entries_for_one_cluster_are_broken(path: Path) -> None:
    data = path.read_bytes()
    (l1,) = struct.unpack_from(">Q", data, 40)
    table = struct.unpack_from(">Q", data, l1)[0] & 0x00FFFFFFFFFFFE00
    with path.open("r+b") as file:
        file.seek(table + 8)
        file.write(data[table : table + 8])
    assert check(path).state == "broken"


def test_a_backing_file_is_not_looked_at(path: Path) -> None:
    child = path.with_name("child.qcow2")
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", child])
    path.unlink()
    assert check(child).state == "sound"


@pytest.mark.parametrize(
    ("format", "option"),
    [("vdi", "static=off"), ("vmdk", "subformat=monolithicSparse"), ("vmdk", "subformat=monolithicFlat")],
)
def test_vmdk_and_vdi_are_looked_at(tmp_path: Path, format: str, option: str) -> None:
    path = tmp_path / "disk"
    run(["qemu-img", "create", "-q", "-f", format, "-o", option, path, "64M"])
    assert check(path).state == "sound"


def test_a_vmdk_whose_tables_are_damaged_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    run(["qemu-img", "create", "-q", "-f", "vmdk", path, "64M"])
    run(["qemu-io", "-f", "vmdk", "-c", "write 0 8M", path])
    path.write_bytes(path.read_bytes()[: 2 * MIB])
    report = check(path)
    assert report.state == "broken"
    with pytest.raises(DiskError, match="cannot be mended"):
        repair(path, path.with_name("mended"))
    assert not path.with_name("mended").exists()


@pytest.mark.parametrize(("count", "status"), [(1, 0), (0, 1), (3, 1)])
def test_the_exit_status_is_the_answer(path: Path, count: int, status: int) -> None:
    set_count(path, 20, count)
    done = CliRunner().invoke(cli, ["disk", "check", "--json", str(path)], prog_name="vmstamp")
    assert done.exit_code == status
    assert json.loads(done.stdout)["state"] == ("sound", "repairable")[status]


@pytest.mark.parametrize("words", [["check", "FILE"], ["compare", "FILE", "FILE"]])
def test_a_failure_is_no_answer(tmp_path: Path, words: list[str]) -> None:
    missing = str(tmp_path / "missing")
    done = CliRunner().invoke(
        cli, ["disk", *(missing if word == "FILE" else word for word in words)], prog_name="vmstamp"
    )
    assert done.exit_code == 2
    assert "missing" in done.stderr


def test_a_raw_disk_has_no_structure_and_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(b"\xff\0" * MIB)
    done = CliRunner().invoke(cli, ["disk", "check", str(tmp_path / "disk.raw")], prog_name="vmstamp")
    assert (done.exit_code, "no structure to check" in done.stderr) == (2, True)
