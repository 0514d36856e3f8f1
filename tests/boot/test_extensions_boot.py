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
