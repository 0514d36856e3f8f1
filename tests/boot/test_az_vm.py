"""The VM that an unmodified az makes: its guest is provisioned for real, and az starts and stops it."""

import os
import sys
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in
from tests.peers.programs import PROGRAMS, find_peer


def az(stamp: Stamp, command: str) -> str:
    """`vmstamp az -- COMMAND`, as text."""
    done = stamp.shell(f"vmstamp az -- {command} -o tsv")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.boot
@pytest.mark.timeout(1500)
def test_az_makes_a_vm_that_its_user_logs_in_to(tmp_path: Path) -> None:
    find_peer("az")
    path = f"{Path(sys.executable).parent}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    with stamp_in(tmp_path, PATH=path, HOME=str(tmp_path)) as stamp:
        stamp.vmstamp("image build debian-12 -o debian.vhdx")
        stamp.vmstamp("up")
        stamp.vmstamp("image create debian --source debian.vhdx")
        stamp.shell("ssh-keygen -q -t ed25519 -N '' -f key")
        made = "vm create -g vmstamp -n web --image debian --admin-username someone --ssh-key-values key.pub"
        (tmp_path / "custom").write_text("#cloud-config\nwrite_files:\n- {path: /etc/told, content: by az}\n")
        az(stamp, f"{made} --custom-data custom")
        assert az(stamp, "vm list -d --query '[].[name,powerState,privateIps]'").split("\t") == [
            "web", "VM running", "10.0.0.4",
        ]  # fmt: skip
        assert stamp.vmstamp("vm ssh web -i key --user someone -- id -un").split()[-1] == "someone"
        assert stamp.vmstamp("vm ssh web -i key --user someone -- cat /etc/told").strip().endswith("by az")
        deployed = "deployment group list -g vmstamp --query '[].properties.provisioningState'"
        assert az(stamp, deployed) == "Succeeded"
        az(stamp, "vm deallocate -g vmstamp -n web")
        assert az(stamp, "vm show -d -g vmstamp -n web --query powerState") == "VM deallocated"
        az(stamp, "vm delete -g vmstamp -n web --yes")
        assert az(stamp, "vm list --query '[].name'") == ""
