"""`vmstamp doctor` on small disks made by e2fsprogs: exit statuses, documents, plans, mending, damage."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.oracle.test_guest_disks import guest_tree, join, make_esp, make_ext4
from vmstamp import disk
from vmstamp.cli import doctor_fix
from vmstamp.cli.main import cli
from vmstamp.cli.render import Console
from vmstamp.disk import Disk
from vmstamp.errors import GuestError
from vmstamp.guest.doctor import diagnose, select
from vmstamp.guest.edits import Edit, Write
from vmstamp.guest.files.fs import Survey
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed

MIB = 1024 * 1024
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("mkfs.ext4", "mformat", "mcopy")),
    reason="mkfs.ext4 (e2fsprogs), mformat and mcopy (mtools) are missing",
)
# What the small guest passes, and what it fails when its fstab names a kernel device.
GOOD, BAD = "fstab-device-names,ci-datasource,sshd-enabled", "/dev/sdb1 /data ext4 defaults 0 2\n"


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["doctor", *map(str, words)], prog_name="vmstamp")


def document(*words: str | Path, status: int) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def make_disk(directory: Path, fstab: str = "") -> Path:
    """A GPT disk with the small guest; `fstab` is added to its fstab."""
    root = directory / "root"
    root.mkdir(parents=True)
    guest_tree(root)
    with (root / "etc/fstab").open("a") as file:
        file.write(fstab)
    esp = make_esp(directory / "esp", {"EFI/BOOT/BOOTX64.EFI": b"MZ"}, directory)
    return join(directory / "disk.raw", esp, make_ext4(root, directory / "ext4"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(tmp_path_factory.mktemp("sick"), BAD)


def test_a_disk_is_fit_for_what_was_asked(good: Path) -> None:
    found = document(good, "--only", GOOD, status=0)
    assert (found["source"], found["fit"], found["boots"]) == (str(good), True, [2])
    assert {one["id"]: one["status"] for one in found["findings"]} == dict.fromkeys(GOOD.split(","), "pass")
    result = call(good, "--only", GOOD)
    assert result.exit_code == 0
    assert "Debian GNU/Linux 12 (bookworm), x86_64" in " ".join(result.stdout.split())
    assert "fit for Azure; 3 passed" in result.stdout


def test_what_fails_is_told_with_its_place_and_mend(sick: Path) -> None:
    result = call(sick, "--only", GOOD)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "1 thing fails; 2 passed" in lines
    assert any(line.startswith("FAIL     fstab-device-names") for line in lines)
    assert any("/etc/fstab:3" in line for line in lines)


@pytest.mark.parametrize("suffix", ["vhd", "vhdx", "qcow2", "raw.gz"])
def test_any_format_is_told_the_same(sick: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"disk.{suffix}"
    if suffix == "raw.gz":
        path.write_bytes(gzip.compress(sick.read_bytes(), 1))
    else:
        with disk.open(sick) as opened:
            disk.convert(opened, path)
    expected, found = (document(p, "--only", "boot", status=1)["findings"] for p in (sick, path))
    assert [(one["id"], one["status"]) for one in found] == [(one["id"], one["status"]) for one in expected]


def test_the_generation_that_is_wanted_decides(good: Path) -> None:
    assert document(good, "--only", "gen-detect", "--generation", "2", status=0)["target"] == {
        "generation": 2, "mode": None, "admin": None,
    }  # fmt: skip
    found = document(good, "--only", "gen-detect", "--generation", "1", status=1)
    assert found["findings"][0]["found"] == "boots as Gen2, not as Gen1"


def test_the_administrator_that_is_named_is_looked_up(good: Path) -> None:
    words = (good, "--only", "user-name-clash", "--admin")
    assert document(*words, "ada", status=0)["findings"][0]["status"] == "pass"
    found = document(*words, "root", status=1)
    assert found["target"]["admin"] == "root"
    assert found["findings"][0]["found"] == "Azure takes no administrator of the name root"


def test_the_marketplace_wants_a_disk_of_1_gib(good: Path) -> None:
    words = (good, "--only", "vhd-size-marketplace")
    assert document(*words, status=0)["counts"]["warning"] == 1
    assert document(*words, "--mode", "marketplace", status=1)["counts"]["fail"] == 1


def test_reports_for_programs(sick: Path) -> None:
    junit = call(sick, "--only", GOOD, "--junit")
    assert junit.exit_code == 1
    assert junit.stdout.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites')
    sarif = call(sick, "--only", GOOD, "--sarif")
    assert sarif.exit_code == 1
    results = json.loads(sarif.stdout)["runs"][0]["results"]
    assert [result["level"] for result in results] == ["error", "none", "none"]


def test_the_list_needs_no_disk() -> None:
    records = json.loads(call("--list", "--json").stdout)
    assert {"id", "severity", "generations", "fix", "source"} <= set(records[0])
    assert "fstab-device-names" in call("--list", "--only", "boot").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "what is to be looked at"),
        (("-",), "'-' is not taken"),
        (("x", "--list"), "looks at no disk"),
        (("x", "--plan"), "go with --fix"),
        (("x", "-o", "y"), "go with --fix"),
        (("x", "--fix", "-o", "y", "--in-place"), "either"),
        (("x", "--junit", "--sarif"), "one of"),
        (("--list", "--junit"), "as text or --json"),
        (("x", "--only", "fstab-device-name"), "did you mean fstab-device-names"),
        (("x", "--generation", "3"), "'3' is not one of"),
    ],
)
def test_nonsense_is_a_usage_error(words: tuple[str, ...], said: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("name", ["none.vhd", "text.vhdx", "empty.raw"])
def test_what_cannot_be_read_ends_with_2_and_a_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "none.vhd":
        path.write_bytes(b"<html>" * 1000 if name == "text.vhdx" else b"")
    for more in ((), ("--json",), ("--junit",)):
        result = call(path, *more)
        assert (result.exit_code, result.stdout) == (2, "")
        assert name in result.stderr and "Traceback" not in result.stderr


LIST = "/etc/fstab"


def _run(facts: Any) -> Verdict:
    return failed("a kernel device", LIST) if "/dev/sdb1" in facts.guest.find_text(LIST) else passed("none")


def _fix(facts: Any) -> list[Edit]:
    return [Write(LIST, facts.guest.read_bytes(LIST).replace(BAD.encode(), b""))]


MENDABLE = Check("x", "t", Severity.BOOT, "w", "s", lambda facts: True, _run, "m", fix=_fix)


class Workshop:
    """Stands for the workshop: writes the disk that it was given, and remembers what it was asked."""

    def __init__(self, mended: Path) -> None:
        self.mended = mended
        self.asked: list[Any] = []

    def __call__(
        self,
        source: Disk,
        edits: Sequence[Edit],
        output: Path,
        *,
        format: str | None,
        progress: Callable[[str, int], None],
        found: Survey,
    ) -> None:
        self.asked += [tuple(edits), format]
        progress("copy", source.size)
        progress("edit", 1)
        with disk.open(self.mended) as opened:
            disk.convert(opened, output, format or "raw")


@pytest.mark.parametrize("in_place", [False, True])
def test_a_disk_is_mended_and_judged_again(good: Path, sick: Path, tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / "disk.raw"
    shutil.copy(sick, path)
    workshop = Workshop(good)
    with disk.open(path) as source:
        before = diagnose(source, checks=[MENDABLE])
        planned = doctor_fix.plan(before, named=False)
        place = doctor_fix.choose_place(str(path), source, None, in_place=in_place)
        fixed = doctor_fix.carry_out(source, planned, place, Console(True), workshop)
    assert not before.fit and fixed.last.fit
    assert fixed.output == (path if in_place else tmp_path / "disk.doctored.raw")
    edit = workshop.asked[0][0]
    assert edit.path == LIST and b"/dev/sdb1" not in edit.data
    assert workshop.asked[1] == (None if in_place else "raw")
    assert planned.plan.mends[0].expected == "pass"
    assert fixed.expected.fit
    assert fixed.to_json()["mends"][0]["edits"] == [f"write {LIST} ({len(edit.data)} bytes)"]


@pytest.mark.parametrize(
    ("source", "kind", "output", "expected"),
    [
        ("d/a.vhdx", ("vhdx", "dynamic"), None, ("d/a.doctored.vhdx", "vhdx")),
        ("d/a.img", ("raw", ""), None, ("d/a.doctored.raw", "raw")),
        ("a.vhd.gz", ("vhd", "dynamic"), None, ("a.doctored.vhd", "vhd-dynamic")),
        ("a.vdi", ("vdi", "dynamic"), None, ("a.doctored.vhdx", "vhdx")),
        ("a.avhdx", ("vhdx", "differencing"), None, ("a.doctored.vhdx", "vhdx")),
        ("disk:data-1", ("vhd", "fixed"), None, ("data-1.doctored.vhd", "vhd-fixed")),
        ("http://h/a/c/web%20x.vhd", ("vhd", "fixed"), None, ("web x.doctored.vhd", "vhd-fixed")),
        ("a.vhd", ("vhd", "dynamic"), "b.vhd", ("b.vhd", "vhd-dynamic")),
        ("a.vhd", ("vhd", "dynamic"), "b.vhdx", ("b.vhdx", "vhdx")),
    ],
)
def test_where_the_mended_disk_goes(
    guest_disk: Any, source: str, kind: tuple[str, str], output: str | None, expected: tuple[str, str]
) -> None:
    place = doctor_fix.choose_place(
        source, guest_disk(*kind), Path(output) if output else None, in_place=False
    )
    assert (str(place.path), place.format) == expected


@pytest.fixture
def guest_disk() -> Callable[[str, str], Disk]:
    from vmstamp.disk.memory import MemoryDisk

    def make(format: str, subformat: str) -> Disk:
        made = MemoryDisk(MIB, {})
        made.format, made.subformat = format, subformat
        return made

    return make


def test_places_that_are_refused(good: Path, tmp_path: Path, guest_disk: Any) -> None:
    packed = tmp_path / "a.raw.gz"
    packed.write_bytes(gzip.compress(bytes(MIB)))
    (tmp_path / "a.doctored.raw").write_bytes(b"mine")
    raw = guest_disk("raw", "")
    for source, output, in_place, said in (
        (str(packed), None, True, "in place"),
        ("disk:data-1", None, True, "in place"),
        (str(tmp_path / "a.raw"), None, False, "is there already"),
        ("a.raw", tmp_path / "b.what", False, "does not tell a format"),
    ):
        with pytest.raises(GuestError, match=said):
            doctor_fix.choose_place(source, raw, output, in_place=in_place)


def test_a_plan_changes_nothing(sick: Path) -> None:
    before = sick.read_bytes()
    planned = document(sick, "--fix", "--plan", status=1)
    assert (planned["plan"], planned["output"], planned["after"]) == (True, None, None)
    assert planned["before"]["fit"] is False
    assert sick.read_bytes() == before
    assert not list(sick.parent.glob("*.doctored*"))


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The disk with one kind of damage: cut, bits turned, a span of noise or zeros; most where tables lie."""
    data = bytearray(content)
    kind = chance.randrange(5)
    places = (0, 512, 1024, MIB, 5 * MIB, 5 * MIB + 1024, 5 * MIB + 4096)
    at = chance.choice(places) + chance.randrange(2048)
    if kind == 0:
        return bytes(data[: chance.randrange(len(data))])
    if kind == 1:
        for _ in range(chance.randrange(1, 64)):
            data[(at + chance.randrange(65536)) % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 2:
        data[at : at + 512] = chance.randbytes(512)
    elif kind == 3:
        data[at : at + 4096] = bytes(4096)
    else:
        for _ in range(2000):
            data[chance.randrange(5 * MIB, 9 * MIB)] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_disk_is_told_in_findings_or_in_a_sentence(good: Path, tmp_path: Path, seed: int) -> None:
    """Twenty disks for each seed. That reading ends is by the budgets of `guest.window` and `guest.fs`."""
    chance, content, path = random.Random(seed), good.read_bytes(), tmp_path / "disk.raw"
    for _ in range(20):
        path.write_bytes(damaged(content, chance))
        result = call(path, "--json")
        assert result.exit_code in (0, 1, 2), result.output
        assert "a mistake in vmstamp" not in result.stderr
        if result.exit_code == 2:
            assert json.loads(result.stderr)["error"]["message"]
        else:
            assert len(json.loads(result.stdout)["findings"]) == len(select([]))


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_no_disk_with_a_system(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "noise.raw"
    path.write_bytes(random.Random(seed).randbytes(2 * MIB))
    assert document(path, status=1)["system"] is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("boo", ["boot", "boot-log-errors"]),
        ("boot,vhd-fi", ["boot,vhd-fixed"]),
        ("lin", ["linux"]),
        ("zz", []),
    ],
)
def test_a_shell_completes_ids_and_groups(word: str, expected: list[str]) -> None:
    command = cli.commands["doctor"]
    only = next(parameter for parameter in command.params if parameter.name == "only")
    found = only.shell_complete(click.Context(command), word)
    assert [item.value for item in found] == expected
