"""`vmstamp generalize` as a program, on small guests of every file system that User Mode Linux edits."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import vmstamp.disk
from tests.guests import make_disk, make_hive, make_windows
from tests.unit.guest.hives import build_hive
from vmstamp.guest.edits import Write
from vmstamp.guest.files.fs import open_root
from vmstamp.guest.identity import read_identity
from vmstamp.guest.workshop.rework import rework
from vmstamp.run import Completed, run

pytestmark = pytest.mark.skipif(
    shutil.which("linux.uml") is None, reason="linux.uml (user-mode-linux) is missing"
)

VMSTAMP = Path(sys.executable).with_name("vmstamp")
ROOT = "root:x:0:0:root:/root:/bin/sh\n"
USED: dict[str, str | bytes] = {
    "/etc/passwd": f"{ROOT}azureuser:x:1000:1000::/home/azureuser:\neve:x:1001:1001::/home/eve:\n",
    "/etc/shadow": "root:$6$secret:1::::::\nazureuser:$6$secret:1::::::\neve:!:1::::::\n",
    "/etc/group": "root:x:0:\nsudo:x:27:azureuser,eve\nazureuser:x:1000:\neve:x:1001:\n",
    "/home/azureuser/.ssh/authorized_keys": "ssh-rsa AAAA\n",
    "/home/eve/.bash_history": "ls\n",
    "/etc/ssh/ssh_host_rsa_key": "key",
    "/etc/ssh/ssh_host_rsa_key.pub": "key",
    "/usr/sbin/sshd": "ELF",
    "/usr/bin/ssh-keygen": "ELF",
    "/usr/lib/systemd/system/ssh.service": "[Service]\nExecStartPre=/usr/sbin/sshd -t\n",
    "/var/lib/waagent/ovf-env.xml": "<UserName>azureuser</UserName>",
    "/var/lib/dbus/machine-id": "0123456789abcdef0123456789abcdef\n",
}


def generalize(*words: str | Path, status: int = 0) -> Completed:
    done = run([VMSTAMP, "generalize", *words], check=False)
    assert done.status == status, done.text + done.stderr.decode()
    return done


def document(*words: str | Path, status: int = 0) -> Any:
    return json.loads(generalize(*words, "--json", status=status).text)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guest in use on ext4, as a VHDX."""
    directory = tmp_path_factory.mktemp("used")
    raw = make_disk(directory / "used.raw", "ext4", USED)
    with vmstamp.disk.open(raw) as disk:
        vmstamp.disk.convert(disk, directory / "used.vhdx")
    return directory / "used.vhdx"


def test_a_used_disk_is_generalized_beside_itself_once(used: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(used, tmp_path / "web.vhdx"))
    before = digest(source)
    planned = document(source, "--plan", "--all-users")
    assert planned["generalized"] and planned["output"] is None
    done = document(source, "--all-users")
    made = tmp_path / "web.generalized.vhdx"
    assert done["output"] == str(made) and done["generalized"]
    assert done["leftovers"] == planned["leftovers"]
    assert done["tasks"] == planned["tasks"]
    assert digest(source) == before
    with vmstamp.disk.open(made) as disk:
        assert (disk.format, disk.subformat) == ("vhdx", "dynamic")
        assert read_identity(disk).generalized
        files = open_root(disk)
        assert files.find_text("/etc/passwd") == ROOT
        assert files.find_text("/etc/shadow") == "root:!*:1::::::\n"
        assert files.find_text("/etc/group") == "root:x:0:\nsudo:x:27:\n"
        assert files.find_text("/etc/machine-id") == ""
        assert files.readlink("/var/lib/dbus/machine-id") == "/etc/machine-id"
        assert "ssh-keygen -A" in (
            files.find_text("/etc/systemd/system/ssh.service.d/10-host-keys.conf") or ""
        )
        assert files.list("/home") == ["user"]
    again = generalize(made, "--all-users")
    assert "nothing is to be done" in again.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["web.generalized.vhdx", "web.vhdx"]


def test_a_person_that_stays_is_told_with_exit_status_1(used: Path, tmp_path: Path) -> None:
    done = generalize(used, "-o", tmp_path / "model.vhd", status=1)
    assert "users-pre-existing" in done.text and "--user eve" in done.text
    with vmstamp.disk.open(tmp_path / "model.vhd") as disk:
        assert {left.id for left in read_identity(disk).leftovers} == {"users-pre-existing"}
        assert open_root(disk).list("/home") == ["eve", "user"]


def test_in_place_the_file_itself_is_replaced(used: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(used, tmp_path / "web.vhdx"))
    generalize(source, "--in-place", "--user", "eve", "--machine-id", "uninitialized")
    with vmstamp.disk.open(source) as disk:
        assert read_identity(disk).generalized
        assert open_root(disk).find_text("/etc/machine-id") == "uninitialized\n"
    assert [path.name for path in tmp_path.iterdir()] == ["web.vhdx"]


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "lvm"])
def test_other_file_systems_and_formats(tmp_path: Path, kind: str) -> None:
    raw = make_disk(tmp_path / f"{kind}.raw", kind, USED)
    generalize(raw, "--all-users", "-o", tmp_path / "model.vhdx")
    with vmstamp.disk.open(tmp_path / "model.vhdx") as disk:
        assert read_identity(disk).generalized
        assert open_root(disk).find_text("/etc/passwd") == ROOT


def test_nothing_is_overwritten_or_planned_wrongly(used: Path, tmp_path: Path) -> None:
    (tmp_path / "there.vhdx").write_bytes(b"mine")
    refused = generalize(used, "-o", tmp_path / "there.vhdx", status=2)
    assert b"there already" in refused.stderr and b"--overwrite" in refused.stderr
    assert (tmp_path / "there.vhdx").read_bytes() == b"mine"
    assert b"no step nonsense" in generalize(used, "--keep", "nonsense", status=2).stderr
    assert b"does not tell a format" in generalize(used, "-o", tmp_path / "x.what", status=2).stderr
    assert b"no answer file" in generalize(used, "--plan", "--answer-file", used, status=2).stderr
    answer = tmp_path / "unattend.xml"
    answer.write_text("<unattend/>")
    assert b"for Windows" in generalize(used, "--plan", "--answer-file", answer, status=2).stderr
    assert b"either" in generalize(used, "--in-place", "-o", tmp_path / "x.vhd", status=2).stderr


def test_a_disk_elsewhere_is_refused_with_how_to_bring_it_here(tmp_path: Path) -> None:
    url = "http://127.0.0.1:10000/account/vhds/web.vhd?sig=secret"
    refused = generalize(url, "--plan", status=2).stderr
    assert b"vmstamp download" in refused and b"secret" not in refused
    refused = generalize("disk:web", status=2).stderr
    assert b"vmstamp download disk:web" in refused and b"vmstamp vm generalize" in refused


def test_a_user_that_is_not_there_is_told(used: Path) -> None:
    assert "there is no user evve" in generalize(used, "--plan", "--user", "evve", status=1).text
    assert document(used, "--plan", "--user", "evve", status=1)["absent_users"] == ["evve"]


def test_the_steps_are_listed_with_the_reason_of_what_is_not_done() -> None:
    listed = {step["id"]: step for step in document("--list")}
    assert listed["fs-uuids"]["default"] == "never" and "initramfs" in listed["fs-uuids"]["why"]
    assert listed["machine-id"]["default"] == "on"
    assert listed["cloud-credentials"]["default"] == "off"


def test_what_holds_no_system_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "zeros.raw").write_bytes(bytes(1024 * 1024))
    assert b"no operating system" in generalize(tmp_path / "zeros.raw", status=2).stderr


def test_windows_is_left_to_sysprep_but_takes_an_answer_file(tmp_path: Path) -> None:
    hive = make_hive(tmp_path / "hive")
    windows = make_windows(tmp_path / "windows.raw", {"SYSTEM": hive, "SOFTWARE": hive})
    refused = generalize(windows, status=2)
    assert b"Sysprep" in refused.stderr and b"/generalize" in refused.stderr
    answer = tmp_path / "unattend.xml"
    answer.write_text('<?xml version="1.0"?><unattend xmlns="urn:schemas-microsoft-com:unattend"/>')
    done = document(windows, "--answer-file", answer, "-o", tmp_path / "answered.raw", status=1)
    assert [left["id"] for left in done["leftovers"]] == ["win-imagestate"]
    with vmstamp.disk.open(tmp_path / "answered.raw") as disk:
        assert open_root(disk).find_text("/Windows/Panther/unattend.xml") == answer.read_text()


def test_the_traces_of_a_windows_that_sysprep_generalized_go_by_any_spelling(tmp_path: Path) -> None:
    state = r"Microsoft\Windows\CurrentVersion\Setup\State"
    software = build_hive({state: {"ImageState": "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"}})
    hives = {"SYSTEM": make_hive(tmp_path / "hive"), "SOFTWARE": software}
    windows = make_windows(tmp_path / "windows.raw", hives)
    queue = "/Windows/Panther/actionqueue/specialize.uaq"
    left = (
        "/Windows/Panther/SetupAct.log",
        "/Windows/Panther/unattend/UNATTEND.xml",
        "/Windows/Temp/x/y.tmp",
    )
    with vmstamp.disk.open(windows) as disk:
        rework(disk, [Write(path, b"x") for path in (*left, queue)], tmp_path / "used.raw")
    assert generalize(tmp_path / "used.raw", "--plan").text.count(" trace\n") == 3
    done = document(tmp_path / "used.raw", "-o", tmp_path / "model.raw")
    assert [task["id"] for task in done["tasks"]] == ["win-answer-files", "win-panther-logs", "win-temp"]
    assert done["generalized"] and done["leftovers"] == []
    with vmstamp.disk.open(tmp_path / "model.raw") as disk:
        files = open_root(disk)
        assert not any(files.exists(path) for path in left)
        assert files.exists(queue) and files.is_directory("/Windows/Temp")
    assert "nothing is to be done" in generalize(tmp_path / "model.raw").text
