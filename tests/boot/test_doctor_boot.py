"""A Debian that would fail on Azure, mended by `vmstamp doctor --fix`: it boots, and says so.

Two of them: one whose agents are installed but off, without a serial console, with the devices' names of
another platform and another machine's network; and one without any agent at all.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.road import Stamp, stamp_in
from vmstamp import disk
from vmstamp.guest.edits import Edit, Remove, Run, Symlink, Write
from vmstamp.guest.files.fs import Files, open_root
from vmstamp.guest.workshop.rework import rework

GRUB = "/boot/grub/grub.cfg"
AGENTS = ("cloud-init", "waagent")


def plain(files: Files) -> Iterator[Edit]:
    """As an installer for another platform leaves it."""
    grub = files.read_bytes(GRUB).decode()
    yield Write(GRUB, re.sub(r" (console|earlyprintk)=\S+", "", grub).encode())
    defaults = files.read_bytes("/etc/default/grub").decode()
    yield Write("/etc/default/grub", re.sub(r" ?(console|earlyprintk)=[^\s\"]+", "", defaults).encode())
    for name in files.list("/etc/default/grub.d"):
        yield Remove(f"/etc/default/grub.d/{name}")
    fstab = files.read_bytes("/etc/fstab").decode()
    root, rest = fstab.splitlines()[0].split(maxsplit=1)
    assert root.startswith("UUID=")
    yield Write("/etc/fstab", f"/dev/vda2 {rest}\n/dev/vda5 none swap sw 0 0\n".encode())
    yield Write(
        "/etc/udev/rules.d/70-persistent-net.rules", b'ATTR{address}=="52:54:00:1:2:3", NAME="eth7"\n'
    )
    yield Write("/etc/cloud/cloud-init.disabled", b"")
    for name in files.list("/etc/cloud/cloud.cfg.d"):
        yield Remove(f"/etc/cloud/cloud.cfg.d/{name}")
    yield Write("/etc/cloud/cloud.cfg.d/99-installer.cfg", b"datasource_list: [ NoCloud, None ]\n")
    yield Symlink("/etc/systemd/system/walinuxagent.service", "/dev/null")
    yield Symlink("/etc/systemd/system/serial-getty@ttyS0.service", "/dev/null")
    yield Remove("/etc/waagent.conf")
    yield Write("/etc/modprobe.d/hardening.conf", b"install udf /bin/false\n")


def without_agents(files: Files) -> Iterator[Edit]:
    yield from (edit for edit in plain(files) if "waagent" not in str(edit) and "walinux" not in str(edit))
    yield Run(("dpkg", "--force-all", "--purge", *AGENTS))


def spoiled(stamp: Stamp, how: str) -> None:
    """`plain.vhdx` in the test's directory."""
    stamp.vmstamp("image build debian-12 -o base.vhdx")
    with disk.open(stamp.directory / "base.vhdx") as base:
        edits = {"plain": plain, "without agents": without_agents}[how](open_root(base))
        rework(base, tuple(edits), stamp.directory / "plain.vhdx")


@pytest.mark.boot
@pytest.mark.timeout(1500)
def test_a_plain_debian_is_mended_and_provisioned_by_its_own_agent(tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        spoiled(stamp, "plain")
        before = stamp.json("doctor plain.vhdx", status=1)
        failing = {one["id"] for one in before["findings"] if one["status"] == "fail"}
        assert {
            "fstab-device-names",
            "agent-any",
            "ci-datasource",
            "module-blacklist-provisioning",
        } <= failing
        stamp.vmstamp("doctor plain.vhdx --fix -o mended.vhdx")
        assert stamp.json("doctor mended.vhdx")["fit"]
        assert stamp.json("doctor plain.vhdx", status=1)["counts"] == before["counts"]  # it was not touched
        tried = stamp.json("try mended.vhdx --user someone")
        assert tried["ok"] and tried["login"]["user"] == "someone"


@pytest.mark.boot
@pytest.mark.timeout(1500)
def test_a_debian_without_an_agent_reports_ready_by_itself(tmp_path: Path) -> None:
    with stamp_in(tmp_path) as stamp:
        spoiled(stamp, "without agents")
        stamp.vmstamp("doctor plain.vhdx --fix -o mended.vhdx")
        found = {one["id"]: one["status"] for one in stamp.json("doctor mended.vhdx")["findings"]}
        assert found["agent-any"] == "pass"
        stamp.vmstamp("up")
        stamp.vmstamp("image create mended --source mended.vhdx")
        stamp.vmstamp("vm create web --image mended")
        assert stamp.vm_state("web") == ("Succeeded", "running")
