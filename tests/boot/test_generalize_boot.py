"""A VM's disk generalized offline is stamped out as another VM: new user, new machine id, new host keys."""

import shlex
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in

# What tells one machine from another: a name and the command whose words are its value.
FACTS = {
    "machine_id": "cat /etc/machine-id",
    "host_keys": "cat /etc/ssh/ssh_host_*_key.pub | cut -d' ' -f2 | sort",
    "people": "getent passwd | awk -F: '$3 >= 1000 && $3 < 60000 {print $1}'",
    "homes": "ls /home",
    "hostname": "hostname",
    "dbus": "readlink -f /var/lib/dbus/machine-id",
    "journals": "ls /var/log/journal || true",
    "failed": "systemctl list-units --failed --plain --no-legend | cut -d' ' -f1",
}
LEAVE = "echo secret > .bash_history; sync"


def facts_of(stamp: Stamp, vm: str) -> dict[str, list[str]]:
    """The facts of a running VM, in one login; each line of the answer begins with @ and the fact's name."""
    script = "; ".join(f"echo @{name} $({command})" for name, command in FACTS.items())
    said = stamp.vmstamp(f"vm ssh {vm} -- {shlex.quote(f'{script}; {LEAVE}')}")
    lines = [line[1:].split() for line in said.splitlines() if line.startswith("@")]
    return {name: values for name, *values in lines}


@pytest.mark.boot
@pytest.mark.timeout(1500)
def test_a_disk_generalized_offline_comes_up_as_another_machine(tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        stamp.vmstamp("image build debian-12 -o base.vhdx")
        stamp.vmstamp("up")
        stamp.vmstamp("image create base --source base.vhdx")
        stamp.vmstamp("vm create one --image base --user firstuser")
        old = facts_of(stamp, "one")
        assert set(old) == set(FACTS)
        assert old["people"] == ["firstuser"]
        stamp.vmstamp("vm stop one")
        disk = stamp.json("vm show one")["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"]
        stamp.vmstamp(f"copy disk:{disk.rsplit('/', 1)[-1]} one.vhd")
        stamp.vmstamp("download one.vhd one.vhdx")

        planned = stamp.json("generalize one.vhdx --plan")
        done = stamp.json("generalize one.vhdx")
        assert done["generalized"] and planned["generalized"]
        assert {"users-pre-existing", "machine-id", "ssh-host-keys", "wa-stale-state"} <= {
            task["id"] for task in done["tasks"]
        }
        assert stamp.json("generalize one.generalized.vhdx --plan")["tasks"] == []

        stamp.vmstamp("image create model --source one.generalized.vhdx")
        stamp.vmstamp("vm create two --image model --user seconduser")
        new = facts_of(stamp, "two")
        assert stamp.vm_state("two") == ("Succeeded", "running")
        assert new["people"] == new["homes"] == ["seconduser"]
        assert new["hostname"] == ["two"]
        assert new["machine_id"] != old["machine_id"] and len(new["machine_id"][0]) == 32
        assert new["host_keys"] and not set(new["host_keys"]) & set(old["host_keys"])
        assert not set(old["journals"]) & set(new["journals"]) - {"remote"}
        assert new["failed"] == old["failed"]
