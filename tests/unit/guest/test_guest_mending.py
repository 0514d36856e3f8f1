"""All fixes of a guest together: one does not undo another, and what they leave is told."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from tests.unit.guest import trees
from tests.unit.guest.apply import apply
from tests.unit.guest.conftest import memory_facts
from vmstamp.guest.checks import (
    access,
    agent,
    cloud_init,
    firewall,
    network,
    network_tools,
    software,
    waagent,
)
from vmstamp.guest.edits import describe
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.provisioning.reporter import UNIT

MODULES = (network, network_tools, firewall, access, agent, cloud_init, waagent, software)
CHECKS = tuple(check for module in MODULES for check in module.CHECKS)
BAD = (Status.FAIL, Status.WARNING)


def bad(facts: Facts) -> dict[str, str]:
    found = [judge(check, facts) for check in CHECKS]
    return {f.id: f.status for f in found if f.status in BAD}


def mend(tree: trees.Tree) -> trees.Tree:
    """As doctor does it: every fix is computed from the guest as it was found."""
    facts = memory_facts(tree)
    found = bad(facts)
    fixes = [check.fix for check in CHECKS if check.id in found and check.fix]
    return apply([edit for fix in fixes for edit in fix(facts)], tree)


INSTALLED = (
    "auto lo\niface lo inet loopback\n\nallow-hotplug ens18\niface ens18 inet static\n\taddress 10.0.0.9/24\n"
)

# A Debian from its installer: no agent, a fixed address, nothing of Azure.
PLAIN: trees.Tree = {
    **trees.os_release("debian", "12"),
    **trees.programs("bash", "ssh-keygen", "useradd", "openssl", "python3.11"),
    "/usr/bin/python3": "-> python3.11",
    "/usr/lib/x86_64-linux-gnu/libssl.so.3": "ELF",
    "/usr/lib/systemd/systemd": "ELF",
    "/usr/sbin/ifup": "ELF",
    **trees.enabled("networking.service"),
    "/etc/network/interfaces": INSTALLED,
    "/etc/udev/rules.d/70-persistent-net.rules": 'ATTR{address}=="52:54:00:00:00:01", NAME="ens18"\n',
    **trees.SSH,
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\n",
    "/etc/apt/sources.list": "deb cdrom:[Debian]/ bookworm main\ndeb https://mirror.example/debian x main\n",
    **trees.enabled("systemd-timesyncd.service", target="sysinit"),
}


def test_a_plain_debian_is_mended_but_for_what_is_to_be_installed() -> None:
    assert bad(memory_facts(PLAIN)) == {
        "net-dhcp-primary": "fail",
        "net-static": "warning",
        "udev-persistent-net": "fail",
        "sshd-host-keygen": "warning",
        "sshd-clientalive": "warning",
        "sudo-present": "fail",
        "agent-any": "fail",
        "wa-present": "warning",
        "apt-mirror": "warning",
        "hyperv-daemons": "warning",
    }
    mended = mend(PLAIN)
    assert bad(memory_facts(mended)) == {
        "sudo-present": "fail",
        "wa-present": "warning",
        "hyperv-daemons": "warning",
    }
    assert f"/etc/systemd/system/multi-user.target.wants/{UNIT}" in mended
    assert mended["/etc/network/interfaces"] == (
        b"auto lo\niface lo inet loopback\n\n"
        b"# allow-hotplug ens18\n# iface ens18 inet static\n# \taddress 10.0.0.9/24\n"
        b"# Written by vmstamp doctor: a VM on Azure has its address from DHCP.\n"
        b"allow-hotplug eth0\niface eth0 inet dhcp\n"
    )


def test_fixes_done_twice_are_done() -> None:
    once = mend(PLAIN)
    assert mend(once) == once


MANY: dict[str, trees.Tree] = {
    "debian": {
        "/etc/cloud/cloud-init.disabled": "",
        "/etc/waagent.conf": "Provisioning.Agent=waagent\nExtensions.Enabled=n\n",
        f"{trees.WANTS}/walinuxagent.service": "-> /dev/null",
        "/etc/systemd/system/walinuxagent.service": "-> /dev/null",
        "/etc/cloud/cloud.cfg.d/99.cfg": "datasource_list: [None]\npreserve_hostname: true\n",
        "/etc/sudoers": "Defaults targetpw\n",
        "/etc/ssh/sshd_config": "ClientAliveInterval 0\nPasswordAuthentication no\n"
        "PasswordAuthentication yes\n",
    },
    "rhel": {
        "/etc/sysconfig/network-scripts/ifcfg-eth0": "DEVICE=eth0\nIPADDR=10.0.0.9\nHWADDR=52:54:00::1\n",
        "/etc/cloud/cloud.cfg.d/99-no.cfg": "network: {config: disabled}\n",
        "/etc/NetworkManager/conf.d/x.conf": "[main]\nno-auto-default=*\n",
        "/etc/udev/rules.d/68-azure-sriov-nm-unmanaged.rules": "",
        "/etc/cloud/ds-identify.cfg": "policy: disabled\n",
    },
    "suse": {
        "/etc/sysconfig/network/ifcfg-eth0": "STARTMODE=auto\nBOOTPROTO=static\nIPADDR=10.0.0.9/24\n",
        "/etc/cloud/cloud.cfg.d/99-no.cfg": "network: {config: disabled}\n",
        "/etc/sudoers": "Defaults targetpw\nALL ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n",
        "/etc/sysconfig/network/dhcp": "DHCLIENT_SET_HOSTNAME=yes\n",
    },
    "ubuntu": {
        "/etc/cloud/cloud.cfg.d/99-installer.cfg": "datasource_list: [None]\n",
        "/etc/cloud/cloud.cfg.d/subiquity-disable-cloudinit-networking.cfg": "network: {config: disabled}\n",
        "/etc/netplan/00-installer-config.yaml": "network: {ethernets: {a: {addresses: [10.0.0.9/24]}}}\n",
        "/etc/systemd/system/sshd.service": "-> /dev/null",
        "/etc/systemd/system/ssh.service": "-> /dev/null",
    },
}  # fmt: skip


@pytest.mark.parametrize("family", MANY)
def test_many_defects_are_mended_together(family: str) -> None:
    tree = {**trees.FAMILIES[family], **MANY[family]}
    assert len(bad(memory_facts(tree))) >= 3
    mended = mend(tree)
    left = bad(memory_facts(mended))
    assert bad(memory_facts(mend(mended))) == {}, left


def test_edits_are_told_without_what_they_write() -> None:
    facts = memory_facts(PLAIN)
    told = [describe(edit) for check in CHECKS if check.fix and judge(check, facts).status in BAD
            for edit in check.fix(facts)]  # fmt: skip
    assert "remove /etc/udev/rules.d/70-persistent-net.rules" in told
    assert not any("10.0.0.9" in line for line in told)


BLANK = "\n" * 100_000
HOSTILE: Mapping[str, str] = {
    "/etc/ssh/sshd_config": "Include /etc/ssh/sshd_config\n" * 1000 + BLANK,
    "/etc/sudoers": BLANK,
    "/etc/pam.d/sshd": BLANK,
    "/etc/cloud/ds-identify.cfg": "\n" * 60_000,
    "/etc/netplan/x.yaml": "- " * 60_000,
    "/etc/cloud/cloud.cfg.d/x.cfg": "{a: " * 20_000,
    "/etc/network/interfaces": "source /etc/network/*\n" * 1000 + "iface \n" * 5000 + "\\\n" * 10_000,
    "/etc/systemd/network/x.network": "[Match]\nName=" + "*a" * 50_000 + "\n[Network]\nDHCP=yes\n",
    "/etc/NetworkManager/system-connections/x": "[connection]\ntype=ethernet\n" * 3000,
    "/etc/sysconfig/network-scripts/ifcfg-x": "A='\n" * 20_000,
    "/etc/iptables/rules.v4": "*filter\n-A\n-A OUTPUT\n-A OUTPUT -d\n" + "-A OUTPUT -j OUTPUT\n" * 10_000,
    "/etc/nftables.conf": 'include "/etc/nftables.conf"\n' + "table t { chain c { " * 10_000,
    "/etc/firewalld/direct.xml": "<rule " * 60_000,
    "/etc/waagent.conf": "=" * 100_000,
    "/etc/chrony/chrony.conf": BLANK,
    "/etc/apt/sources.list": "deb [" * 20_000,
    "/var/lib/dpkg/status": "Package: a\n" * 50_000,
}  # fmt: skip


def test_hostile_files_are_read_in_time_and_judged() -> None:
    services = ("netfilter-persistent", "nftables", "firewalld", "networking", "NetworkManager", "network")
    tree: trees.Tree = {**trees.DEBIAN, "/usr/lib/systemd/system-generators/netplan": ""}
    for service in services:
        tree |= trees.enabled(f"{service}.service")
    start = time.monotonic()
    facts = memory_facts({**tree, **HOSTILE})
    for check in CHECKS:
        finding = judge(check, facts)
        if finding.status in BAD and check.fix:
            assert isinstance([describe(edit) for edit in check.fix(facts)], list)
    assert time.monotonic() - start < 60
