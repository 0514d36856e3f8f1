"""The guests of the matrix, spoiled, mended and generalized: each comes up as a VM, as another machine.

The whole road of a disk from elsewhere: `doctor --fix`, `generalize`, `image create`, `vm create`, SSH. The
disk that goes in has a machine id, host keys, a person and the defects of `test_real_guests.SPOIL`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in
from tests.boot.test_generalize_boot import facts_of
from tests.matrix.test_real_guests import IS, NAMES, SPOIL
from tests.real_guests import get_disk
from vmstamp import disk
from vmstamp.guest.edits import Edit, Run, Write
from vmstamp.guest.files.fs import Files, open_root
from vmstamp.guest.workshop.rework import rework

MACHINE_ID = "0123456789abcdef0123456789abcdef"
PERSON = "builder"


def used(files: Files) -> Iterator[Edit]:
    """What a machine has that ran: its identity, and the person who set it up."""
    yield Write("/etc/machine-id", f"{MACHINE_ID}\n".encode())
    yield Run(("ssh-keygen", "-A"))
    yield Run(("useradd", "--create-home", "--shell", "/bin/bash", PERSON))
    yield Write(f"/home/{PERSON}/.bash_history", b"echo a secret\n", 0o600)


def public_keys(path: Path) -> set[str]:
    """The base64 of each SSH host key that lies on the disk."""
    with disk.open(path) as held:
        files = open_root(held)
        names = [name for name in files.list("/etc/ssh") if name.endswith("_key.pub")]
        return {files.read_bytes(f"/etc/ssh/{name}").decode().split()[1] for name in names}


def spoiled(stamp: Stamp, name: str) -> Path:
    path = stamp.directory / "bad.vhdx"
    with disk.open(get_disk(name)) as source:
        files = open_root(source)
        rework(source, (*used(files), *SPOIL[name](files)), path)
    return path


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", NAMES)
def test_a_mended_and_generalized_guest_comes_up_as_another_machine(name: str, tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        old_keys = public_keys(spoiled(stamp, name))
        assert len(old_keys) >= 3
        stamp.vmstamp("doctor bad.vhdx --fix -o mended.vhdx", timeout=1400)
        stamp.vmstamp(f"generalize mended.vhdx -o model.vhdx --user {PERSON}")
        (tmp_path / "bad.vhdx").unlink()
        (tmp_path / "mended.vhdx").unlink()

        stamp.vmstamp("up")
        generation = max(IS[name]["boots"])
        stamp.vmstamp(f"image create model --source model.vhdx --generation {generation}")
        stamp.vmstamp("vm create one --image model --user someone")
        assert stamp.vm_state("one") == ("Succeeded", "running")
        found = facts_of(stamp, "one")
        assert found["people"] == found["homes"] == ["someone"]
        assert found["hostname"] == ["one"]
        (machine_id,) = found["machine_id"]
        assert len(machine_id) == 32 and machine_id != MACHINE_ID
        assert len(found["host_keys"]) >= 3 and not set(found["host_keys"]) & old_keys
        assert found["dbus"] in (["/etc/machine-id"], ["/var/lib/dbus/machine-id"])
        assert found["failed"] == []
