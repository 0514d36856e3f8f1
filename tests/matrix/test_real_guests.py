"""doctor, doctor --fix and generalize on Debian guests as people install them: LVM, XFS and btrfs roots.

Each guest gets the defects of `SPOIL` in one go; only what they bring is found, and mended. A disk that is
not kept yet is built first (minutes).
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.boot.road import BIN
from tests.real_guests import ROOT_UUID, get_disk
from vmstamp import disk
from vmstamp.guest.edits import Edit, Remove, Run, Symlink, Write
from vmstamp.guest.files.fs import Files, open_root
from vmstamp.guest.workshop.rework import rework

pytestmark = pytest.mark.timeout(1500)

NAMES = ("lvm", "xfs", "btrfs")
IS: dict[str, dict[str, Any]] = {
    "lvm": {"boots": [1], "root": "ext4"},
    "xfs": {"boots": [2], "root": "xfs"},
    "btrfs": {"boots": [1, 2], "root": "btrfs"},
}
GRUB = "/boot/grub/grub.cfg"


def vmstamp(*words: str | Path, status: int = 0) -> Any:
    """The document that the command prints, when it ends with this status."""
    done = subprocess.run(
        [BIN / "vmstamp", *words, "--json"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=1400,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


@functools.cache
def clean(name: str) -> Any:
    return vmstamp("doctor", get_disk(name))


def wrong(diagnosis: Any) -> set[str]:
    found = (one for one in diagnosis["findings"] if not one["mended_by_upload"])
    return {one["id"] for one in found if one["status"] in ("fail", "warning")}


def sub(files: Files, path: str, pattern: str, by: str) -> Edit:
    text = files.read_bytes(path).decode()
    changed = re.sub(pattern, by, text, flags=re.MULTILINE)
    assert changed != text, f"{path} has no {pattern}"
    return Write(path, changed.encode())


def spoil_lvm(files: Files) -> Iterator[Edit]:
    """As converted from another hypervisor: LVM bound to its disks, its address, no agent that provisions."""
    yield Write(
        "/etc/lvm/devices/system.devices", b"IDTYPE=sys_wwid IDNAME=naa.600508 DEVNAME=/dev/sdb PVID=x\n"
    )
    yield sub(files, "/etc/fstab", r"^UUID=\S+ /boot ", "/dev/vda1 /boot ")
    yield Write(
        "/etc/network/interfaces",
        b"auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet static\n"
        b"    address 192.168.7.20/24\n    gateway 192.168.7.1\n",
    )
    yield sub(files, "/etc/waagent.conf", r"^Provisioning\.Agent=.*", "Provisioning.Agent=disabled")
    yield Write("/etc/modprobe.d/hardening.conf", b"install udf /bin/false\n")


def spoil_xfs(files: Files) -> Iterator[Edit]:
    """As installed on another hypervisor: its devices' names, address, datasource, no serial console."""
    yield sub(files, "/etc/fstab", r"^UUID=\S+ / ", "/dev/sda2 / ")
    yield sub(files, GRUB, rf"root=UUID={ROOT_UUID}(.*?) console=ttyS0\S*", r"root=/dev/sda2\1")
    yield sub(files, "/etc/default/grub.d/50-azure.cfg", r" console=ttyS0,115200n8", "")
    yield Write(
        "/etc/udev/rules.d/70-persistent-net.rules", b'ATTR{address}=="52:54:00:1:2:3", NAME="eth7"\n'
    )
    yield Write(
        "/etc/netplan/01-netcfg.yaml",
        b"network:\n  version: 2\n  ethernets:\n    eth0:\n      addresses: [192.168.7.20/24]\n",
        0o600,
    )
    yield Write("/etc/cloud/cloud.cfg.d/99-installer.cfg", b"datasource_list: [ NoCloud, None ]\n")


def spoil_btrfs(files: Files) -> Iterator[Edit]:
    """A build that went wrong: no initramfs, cloud-init off, a disk that is not there, a bound interface."""
    for name in files.list("/boot"):
        if name.startswith("initrd.img-"):
            yield Remove(f"/boot/{name}")
    yield Remove("/etc/dracut.conf.d/10-test.conf")
    yield Write("/etc/cloud/cloud-init.disabled", b"")
    yield sub(files, "/etc/fstab", r"\Z", f"UUID={ROOT_UUID[::-1]} /srv btrfs defaults 0 0\n")
    yield Write(
        "/etc/systemd/network/10-eth0.network",
        b"[Match]\nMACAddress=52:54:00:01:02:03\n\n[Network]\nDHCP=yes\n",
    )
    yield Symlink("/etc/systemd/system/ssh.service", "/dev/null")


# The layout stays. On LVM /boot is found only when fstab is mended, and its kernel seen in the next run.
LEFT: dict[str, set[str]] = {"lvm": {"lvm-os-disk", "kernel-noise-blacklist"}, "xfs": set(), "btrfs": set()}
STAYS = {"lvm-os-disk"}
SPOIL = {"lvm": spoil_lvm, "xfs": spoil_xfs, "btrfs": spoil_btrfs}
FOUND = {
    "lvm": {
        "lvm-devices-file",
        "fstab-device-names",
        *("net-static", "net-dhcp-primary", "wa-conf-provisioning", "agent-any"),
        "module-blacklist-provisioning",
        "grub-cfg-root",  # /boot is not found under a name of another machine
    },
    "xfs": {
        "fstab-device-names",
        "cmdline-root-device",
        "cmdline-console",
        "udev-persistent-net",
        "net-static",
        "ci-datasource",
        "net-installer-leftovers",
    },
    "btrfs": {
        *("initramfs-present", "initramfs-hostonly", "fstab-missing-device", "net-mac-bound"),
        *("ci-enabled", "agent-any", "wa-conf-provisioning"),  # without cloud-init nobody provisions
        *("sshd-enabled", "sshd-host-keygen"),
    },
}


def spoiled(name: str, path: Path) -> Path:
    with disk.open(get_disk(name)) as source:
        rework(source, tuple(SPOIL[name](open_root(source))), path)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_doctor_says_what_the_guest_is_and_fails_nothing(name: str) -> None:
    found = clean(name)
    assert found["fit"] and found["boots"] == IS[name]["boots"]
    assert found["system"]["id"] == "debian" and found["system"]["version_id"] == "12"
    texts = {one["id"]: one for one in found["findings"]}
    assert IS[name]["root"] in json.dumps(texts["root-fs-supported"])
    assert {texts[one]["status"] for one in ("initramfs-hv-modules", "agent-any", "net-dhcp-primary")} == {
        "pass"
    }


@pytest.mark.parametrize("name", NAMES)
def test_defects_are_found_and_mended_and_nothing_else(name: str, tmp_path: Path) -> None:
    bad = spoiled(name, tmp_path / "bad.vhdx")
    assert wrong(vmstamp("doctor", bad, status=1)) - wrong(clean(name)) == FOUND[name]
    fixed = vmstamp("doctor", bad, "--fix", "-o", tmp_path / "mended.vhdx")
    assert wrong(fixed["after"]) == LEFT[name]
    if LEFT[name] - STAYS:
        again = vmstamp("doctor", tmp_path / "mended.vhdx", "--fix", "--in-place")
        assert wrong(again["after"]) == STAYS


def test_an_initramfs_without_the_drivers_is_made_anew_by_the_guests_own_tool(tmp_path: Path) -> None:
    """initramfs-tools: with MODULES=list it takes the drivers that are named; at its last run none was."""
    with disk.open(get_disk("xfs")) as source:
        edits = (
            Write("/etc/initramfs-tools/conf.d/azure", b"MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n"),
            Remove("/usr/share/initramfs-tools/modules.d/azure"),
            Run(("update-initramfs", "-u", "-k", "all")),
            Write("/etc/initramfs-tools/modules", b"hv_vmbus\nhv_storvsc\nxfs\n"),
        )
        rework(source, edits, tmp_path / "bad.vhdx")
    found = vmstamp("doctor", tmp_path / "bad.vhdx", status=1)
    assert wrong(found) - wrong(clean("xfs")) == {"initramfs-hv-modules", "initramfs-rootfs-module"}
    fixed = vmstamp("doctor", tmp_path / "bad.vhdx", "--fix", "-o", tmp_path / "mended.vhdx")
    assert wrong(fixed["after"]) == set()
    assert any("update-initramfs" in str(mend["edits"]) for mend in fixed["mends"])


@pytest.mark.parametrize("name", NAMES)
def test_generalize_leaves_nothing_to_do(name: str, tmp_path: Path) -> None:
    with disk.open(get_disk(name)) as source:
        edits = (
            Write("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
            Write("/root/.bash_history", b"a secret\n", 0o600),
            Write("/etc/ssh/ssh_host_ed25519_key", b"a key\n", 0o600),
        )
        rework(source, edits, tmp_path / "used.vhdx")
    assert not vmstamp("doctor", tmp_path / "used.vhdx", "--only", "generalized", status=1)["generalized"]
    done = vmstamp("generalize", tmp_path / "used.vhdx", "-o", tmp_path / "model.vhdx")
    assert done["generalized"] and {"machine-id", "ssh-host-keys"} <= {task["id"] for task in done["tasks"]}
    assert vmstamp("doctor", tmp_path / "model.vhdx", "--only", "generalized")["generalized"]
    assert vmstamp("generalize", tmp_path / "model.vhdx", "--plan")["tasks"] == []
