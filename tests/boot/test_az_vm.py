"""The VM that an unmodified az makes: its guest is provisioned for real, and az starts and stops it."""

import os
import re
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


def guest(stamp: Stamp, script: str) -> str:
    """What a script writes in the guest of the VM `web`."""
    return stamp.vmstamp(f"vm ssh web -i key --user someone -- '{script}'").strip()


def data_disks(stamp: Stamp, count: int) -> dict[int, int]:
    """LUN -> GiB of the guest's data disks, looked at until there are so many."""
    system = "lsblk -dno HCTL /dev/$(lsblk -no PKNAME $(findmnt -no SOURCE /)) | cut -d: -f1"
    disks = f"lsblk -Snbo HCTL,SIZE | grep -v ^$({system}):"
    seen = f"for one in $(seq 100); do test $({disks} | wc -l) = {count} && break; sleep 0.1; done; {disks}"
    told = re.findall(r"^\d+:0:0:(\d+) +(\d+)$", guest(stamp, f"{seen} || true"), re.MULTILINE)
    return {int(lun): int(size) >> 30 for lun, size in told}


def data_disks_come_and_go(stamp: Stamp) -> None:
    """The guest sees at once what az attaches and detaches, and its bytes move along with a disk."""
    assert data_disks(stamp, 1) == {0: 1}
    which = "-g vmstamp --vm-name web --name hot"
    az(stamp, f"vm disk attach {which} --new --size-gb 2 --lun 5")
    assert data_disks(stamp, 2) == {0: 1, 5: 2}
    find = 'lsblk -Snpo NAME,HCTL | grep :{}$ | cut -d" " -f1'
    written = f"echo written while hot | sudo dd of=$({find.format(5)}) conv=sync,fsync status=none"
    guest(stamp, written)
    az(stamp, f"vm disk detach {which}")
    assert data_disks(stamp, 1) == {0: 1}
    az(stamp, f"vm disk attach {which} --lun 9")
    assert data_disks(stamp, 2) == {0: 1, 9: 2}
    assert guest(stamp, f"sudo head -c 17 $({find.format(9)})").endswith("written while hot")


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
        az(stamp, f"{made} --custom-data custom --data-disk-sizes-gb 1")
        assert az(stamp, "vm list -d --query '[].[name,powerState,privateIps]'").split("\t") == [
            "web", "VM running", "10.0.0.4",
        ]  # fmt: skip
        assert stamp.vmstamp("vm ssh web -i key --user someone -- id -un").split()[-1] == "someone"
        assert guest(stamp, "cat /etc/told").endswith("by az")
        data_disks_come_and_go(stamp)
        deployed = "deployment group list -g vmstamp --query '[].properties.provisioningState'"
        assert az(stamp, deployed) == "Succeeded"
        az(stamp, "vm deallocate -g vmstamp -n web")
        assert az(stamp, "vm show -d -g vmstamp -n web --query powerState") == "VM deallocated"
        az(stamp, "vm delete -g vmstamp -n web --yes")
        assert az(stamp, "vm list --query '[].name'") == ""
