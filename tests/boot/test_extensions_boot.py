"""Run commands, extensions and data disks in a real guest, asked for by an unmodified az and by ours."""

import base64
import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.boot.road import Stamp, stamp_in
from tests.peers.programs import PROGRAMS, find_peer

DISK_OF_LUN = 'disk() { lsblk -Snpo NAME,HCTL | sed -n "s/ .*:$1$//p"; }'
PACKED = base64.b64encode(gzip.compress(b"#!/bin/sh\r\necho packed for $(hostname)\r\n")).decode()


def az(stamp: Stamp, command: str, status: int = 0) -> Any:
    """`vmstamp az -- COMMAND`: its document, or its error when another exit status is expected."""
    done = stamp.shell(f"vmstamp az -- {command} -o json")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr if status else json.loads(done.stdout or "null")


@pytest.mark.boot
@pytest.mark.timeout(1200)
def test_az_runs_commands_and_extensions_in_a_guest(tmp_path: Path) -> None:
    find_peer("az")
    path = f"{Path(sys.executable).parent}{os.pathsep}{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    with stamp_in(tmp_path, PATH=path, HOME=str(tmp_path)) as stamp:
        stamp.vmstamp("image build debian-12-waagent -o waagent.vhdx")
        stamp.vmstamp("up")
        stamp.vmstamp("image create waagent --source waagent.vhdx")
        stamp.vmstamp("vm create web --image waagent")

        script = "echo $greeting $1 of $(id -un) on $(hostname); echo to stderr >&2; seq 2000; exit 3"
        command = "vm run-command invoke -g vmstamp -n web --command-id RunShellScript"
        [told] = az(stamp, f"{command} --scripts '{script}' --parameters greeting=hello")["value"]
        assert told["code"] == "ProvisioningState/succeeded"
        assert told["message"].startswith("Enable succeeded: \n[stdout]\n")
        assert told["message"].endswith("1999\n2000\n\n[stderr]\nto stderr\n")
        assert "hello hello of root" not in told["message"], "the last 4 KiB are told"
        [told] = az(stamp, f"{command} --scripts '#!/bin/bash' 'echo $greeting $1' --parameters greeting=hi")[
            "value"
        ]
        assert told["message"] == "Enable succeeded: \n[stdout]\nhi hi\n\n[stderr]\n"

        which = "-g vmstamp --vm-name web"
        kind = "--name CustomScript --publisher Microsoft.Azure.Extensions"
        settings = json.dumps({"script": PACKED})
        made = az(stamp, f"vm extension set {which} {kind} --protected-settings '{settings}'")
        assert (made["provisioningState"], made["typeHandlerVersion"]) == ("Succeeded", "2.1")
        shown = az(stamp, f"vm extension show {which} --name CustomScript --instance-view")
        [status] = shown["instanceView"]["statuses"]
        assert status["message"] == "Enable succeeded: \n[stdout]\npacked for web\n\n[stderr]\n"

        settings = json.dumps({"commandToExecute": "echo about to fail; exit 7"})
        error = az(stamp, f"vm extension set {which} {kind} --settings '{settings}'", status=1)
        assert "VMExtensionProvisioningError" in error
        assert "command terminated with exit status=7" in error and "about to fail" in error

        az(stamp, f"vm extension delete {which} --name CustomScript")
        assert az(stamp, f"vm extension list {which}") == []
        gone = (
            "ls -d /var/lib/waagent/custom-script /var/lib/waagent/Microsoft.Azure.Extensions.CustomScript-*"
        )
        [told] = az(stamp, f"{command} --scripts '{gone} 2>/dev/null | wc -l'")["value"]
        assert "[stdout]\n0\n" in told["message"], "nothing of the handler is left"

        data_disks_come_and_go(stamp)
        commands_stay_as_resources(stamp)
        accounts_are_set(stamp)


def data_disks_come_and_go(stamp: Stamp) -> None:
    """The guest sees at once what is attached and detached, and its bytes move along with a disk."""
    which = "-g vmstamp --vm-name web --name hot"
    az(stamp, f"vm disk attach {which} --new --size-gb 2 --lun 5")
    (stamp.directory / "write.sh").write_text(
        f"{DISK_OF_LUN}\necho hot | dd of=$(disk 5) conv=sync status=none\n"
    )
    assert stamp.vmstamp("vm run-command web --script @write.sh") == ""
    az(stamp, f"vm disk detach {which}")
    assert stamp.vmstamp(f"vm run-command web --script '{DISK_OF_LUN}; disk 5'") == ""
    az(stamp, f"vm disk attach {which} --lun 9")
    assert stamp.vmstamp(f"vm run-command web --script '{DISK_OF_LUN}; head -n 1 $(disk 9)'") == "hot\n"


def commands_stay_as_resources(stamp: Stamp) -> None:
    """Managed run commands: what the handler in the guest tells is their instance view."""
    which = "-g vmstamp --vm-name web --location local"
    show = "vm run-command show -g vmstamp --vm-name web --instance-view"

    def view_of(name: str) -> Any:
        return az(stamp, f"{show} --name {name}")["instanceView"]

    (stamp.directory / "greet.sh").write_text(
        "echo $greeting ${secret%-word} of $(id -un); echo oh >&2; exit 3\n"
    )
    secret = "--parameters greeting=hello --protected-parameters secret=a-secret-word"
    made = az(stamp, f"vm run-command create {which} --name greet --script @greet.sh {secret}")
    assert (made["provisioningState"], made.get("protectedParameters")) == ("Succeeded", None)
    view = view_of("greet")
    assert (view["executionState"], view["exitCode"]) == ("Failed", 3)
    assert (view["output"], view["error"]) == ("hello a-secret of root\n", "oh\n")
    assert view["executionMessage"].endswith("command terminated with exit status=3")

    (stamp.directory / "long.sh").write_text("#!/bin/sh\necho begun by $(id -un)\nexec sleep 4000\n")
    long = "--script @long.sh --run-as-user azureuser --timeout-in-seconds 3600 --async-execution true"
    az(stamp, f"vm run-command create {which} --name long {long}")
    assert view_of("long")["executionState"] == "Running"
    az(stamp, f"vm run-command create {which} --name brief --script 'sleep 4001' --timeout-in-seconds 2")
    assert (view_of("brief")["executionState"], view_of("brief")["exitCode"]) == ("Failed", -1)
    sleeping = "vm run-command web --script 'ps -eo user:12,args'"
    assert [line.split()[0] for line in stamp.vmstamp(sleeping).splitlines() if "sleep 400" in line] == [
        "azureuser"
    ]
    names = [one["name"] for one in az(stamp, "vm run-command list -g vmstamp --vm-name web")]
    assert names == ["brief", "greet", "long"]
    az(stamp, "vm run-command delete -g vmstamp --vm-name web --name long --yes")
    left = [one["name"] for one in az(stamp, "vm run-command list -g vmstamp --vm-name web")]
    assert left == ["brief", "greet"]
    traces = "ps -eo args | grep '[s]leep 400'; grep -rl a-secret-word /var/lib/waagent /var/log"
    told = stamp.vmstamp(f'vm run-command web --script "{traces} | grep -v /download/; true"')
    assert told == "", "a run command that is deleted is ended, and secrets stay in outputs alone"


def accounts_are_set(stamp: Stamp) -> None:
    """VMAccess: an account with a key and a password, sshd put right, the account removed."""
    which = "-g vmstamp -n web"
    stamp.shell("ssh-keygen -q -t rsa -N '' -f ann")
    az(stamp, f"vm user update {which} --username ann --ssh-key-value ann.pub")
    own = "id -un; sudo -n id -un; cut -d' ' -f1 .ssh/authorized_keys; stat -c %a .ssh .ssh/authorized_keys"
    told = stamp.vmstamp(f'vm run-command web --script "su - ann -c \\"{own}\\""')
    assert told.split() == ["ann", "root", "ssh-rsa", "700", "600"]

    az(stamp, f"vm user update {which} --username ann --password 'Another-Secret-4711'")
    sshd = "sshd -T 2>&1 | grep -i ^passwordauthentication; getent shadow ann | cut -c1-6; ls /etc/ssh"
    sshd += "; echo nonsense >> /etc/ssh/sshd_config"
    told = stamp.vmstamp(f"vm run-command web --script '{sshd}'")
    assert "passwordauthentication yes" in told and "ann:$" in told and "sshd_config_20" in told
    az(stamp, f"vm user reset-ssh {which}")
    told = stamp.vmstamp("vm run-command web --script 'sshd -t && systemctl is-active ssh'")
    assert told == "active\n"

    az(stamp, f"vm user delete {which} --username ann")
    gone = "getent passwd ann; ls -d /home/ann; grep ann /etc/sudoers.d/waagent"
    assert stamp.vmstamp(f"vm run-command web --script '{gone} 2>/dev/null; true'") == ""
    error = az(stamp, f"vm user delete {which} --username daemon", status=1)
    assert "daemon is a system user. Will not delete account." in error
    assert [one["name"] for one in az(stamp, "vm extension list -g vmstamp --vm-name web")] == [
        "enablevmaccess"
    ]
