"""What is given in confidence is in no file of a running stamp, and in no command line of what it started."""

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in
from tests.peers.programs import PROGRAMS, find_peer

PASSWORD = "Planted-Pass-4711"
SETTING = "planted-setting"
COMMAND = "planted-parameter"


def files_with(stamp: Stamp, word: str) -> Iterator[str]:
    """The files of a home that hold a word, plain or in base64, but for what guests wrote on their disks.

    az's customData is not looked for: az writes it into its template, which a deployment keeps, as in Azure.
    """
    plain = word.encode()
    shifted = [base64.b64encode(b"\0" * skip + plain)[(4 if skip else 0) : -4] for skip in range(3)]
    for path in stamp.home.root.rglob("*"):
        if not path.is_file() or path.is_symlink() or stamp.home.recipes in path.parents:
            continue
        data = b"" if path.suffix == ".qcow2" else path.read_bytes()
        if any(found in data for found in (plain, *shifted)):
            yield str(path.relative_to(stamp.home.root))


def words_of(pid: int) -> bytes:
    directory = Path(f"/proc/{pid}")
    return (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()


def az(stamp: Stamp, command: str, status: int = 0) -> str:
    """`vmstamp az -- COMMAND`; what it says."""
    done = stamp.shell(f"vmstamp az -- {command} -o json")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def look(stamp: Stamp, *words: str) -> None:
    for word in words:
        assert list(files_with(stamp, word)) == []
        assert not any(word.encode() in words_of(pid) for pid in stamp.processes())


@pytest.mark.boot
@pytest.mark.timeout(600)
def test_planted_secrets_are_in_no_file_of_a_stamp(tmp_path: Path) -> None:
    find_peer("az")
    path = f"{Path(sys.executable).parent}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    with stamp_in(tmp_path, PATH=path, HOME=str(tmp_path), VMSTAMP_AGENT_TIMEOUT="3") as stamp:
        stamp.vmstamp("image build tiny -o tiny.vhdx")
        stamp.vmstamp("up")
        stamp.vmstamp("image create tiny --source tiny.vhdx")
        made = "vm create -g vmstamp -n web --image tiny --size Standard_B1ls --admin-username someone"
        az(stamp, f"{made} --admin-password {PASSWORD} --nsg-rule NONE")
        assert stamp.processes(), "the guest runs"
        look(stamp, PASSWORD)

        which = "-g vmstamp --vm-name web"
        kind = "--name CustomScript --publisher Microsoft.Azure.Extensions"
        settings = json.dumps({"commandToExecute": SETTING})
        error = az(stamp, f"vm extension set {which} {kind} --protected-settings '{settings}'", status=1)
        assert "VMAgentStatusCommunicationError" in error, "the tiny guest has no agent"
        command = f"vm run-command create {which} --name one --script true"
        assert "VMAgentStatusCommunicationError" in az(
            stamp, f"{command} --protected-parameters password={COMMAND}", status=1
        )
        look(stamp, SETTING, COMMAND)
        stamp.vmstamp("down")
        look(stamp, PASSWORD, SETTING, COMMAND)
