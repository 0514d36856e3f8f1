"""The checks of the network: a healthy guest of each family, one defect each, and the defect mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.guest import trees
from tests.unit.guest.apply import apply
from tests.unit.guest.conftest import memory_facts, memory_files
from vmstamp.guest.checks import firewall, network, network_tools
from vmstamp.guest.edits import Symlink, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Status, judge
from vmstamp.guest.network.survey import read_network

CHECKS = (*network.CHECKS, *network_tools.CHECKS, *firewall.CHECKS)
NETPLAN = "/etc/netplan/01-old.yaml"
CLOUD = "/etc/cloud/cloud.cfg.d"
IFCFG = "/etc/sysconfig/network-scripts/ifcfg-eth0"

Changes = Mapping[str, str | None]


def changed(family: str, changes: Changes) -> trees.Tree:
    tree = {**trees.FAMILIES[family], **{path: text for path, text in changes.items() if text is not None}}
    return {path: text for path, text in tree.items() if changes.get(path, "") is not None}


def bad(facts: Facts) -> dict[str, str]:
    found = [judge(check, facts) for check in CHECKS]
    return {f.id: f.status for f in found if f.status in (Status.FAIL, Status.WARNING)}


def test_every_record_is_complete() -> None:
    for check in CHECKS:
        assert all((check.title, check.why, check.source, check.mend)), check.id


@pytest.mark.parametrize("family", trees.FAMILIES)
def test_a_healthy_guest_passes(family: str) -> None:
    assert bad(memory_facts(trees.FAMILIES[family])) == {}


NM = "/etc/NetworkManager/system-connections/wired.nmconnection"
NO_CLOUD_INIT = {
    "/usr/lib/systemd/system/cloud-init-local.service": None,
    "/usr/lib/python3/dist-packages/cloudinit/version.py": None,
}
STATIC_ENI = "auto eth0\niface eth0 inet static\n    address 10.1.2.3/24\n    gateway 10.1.2.1\n"
STATIC_NETPLAN = "network:\n  ethernets:\n    eth0:\n      addresses: [10.1.2.3/24]\n"
DISABLED = {f"{CLOUD}/99-disable-network-config.cfg": "network: {config: disabled}\n"}
RULE = "/etc/udev/rules.d/70-persistent-net.rules"


@pytest.mark.parametrize(
    ("family", "changes", "found"),
    [
        # DHCP
        (
            "debian",
            {**NO_CLOUD_INIT, "/etc/network/interfaces.d/cloud": None},
            {"net-dhcp-primary": "fail"},
        ),
        (
            "debian",
            {**NO_CLOUD_INIT, "/etc/network/interfaces.d/cloud": "auto ens18\niface ens18 inet dhcp\n"},
            {"net-dhcp-primary": "fail"},
        ),
        (
            "debian",
            {**NO_CLOUD_INIT, "/etc/network/interfaces.d/cloud": STATIC_ENI},
            {"net-dhcp-primary": "fail", "net-static": "fail"},
        ),
        (
            "debian",
            {**NO_CLOUD_INIT, "/etc/network/interfaces": f"auto lo\niface lo inet loopback\n{STATIC_ENI}"},
            {"net-dhcp-primary": "fail", "net-static": "fail"},
        ),
        (
            "debian",
            {
                **NO_CLOUD_INIT,
                "/etc/network/interfaces.d/cloud": "auto eth0\niface eth0 inet dhcp\n"
                "\thwaddress ether 00:11:22:33:44:55\n",
            },
            {"net-dhcp-primary": "fail", "net-mac-bound": "fail"},
        ),
        (
            "waagent",
            {"/etc/systemd/network/80-dhcp.network": "[Match]\nName=ens18\n[Network]\nDHCP=yes\n"},
            {"net-dhcp-primary": "fail"},
        ),
        (
            "waagent",
            {"/etc/systemd/network/10-a.network": "[Match]\nName=e*\n[Network]\nAddress=10.0.0.4/24\n"},
            {"net-dhcp-primary": "fail", "net-static": "fail"},
        ),
        (
            "waagent",
            {f"{trees.WANTS}/systemd-networkd.service": None},
            {"net-dhcp-primary": "warning"},
        ),
        (
            "ubuntu",
            DISABLED | {NETPLAN: STATIC_NETPLAN},
            {
                "net-dhcp-primary": "fail",
                "net-static": "fail",
                "net-cloudinit-disabled": "fail",
                "net-mac-bound": "fail",
            },
        ),
        (
            "debian",
            {
                "/etc/network/interfaces.d/cloud": None,
                f"{CLOUD}/50.cfg": "a: b\nnetwork:\n  config: disabled\n",
            },
            {"net-dhcp-primary": "fail", "net-cloudinit-disabled": "fail"},
        ),
        ("ubuntu", {NETPLAN: STATIC_NETPLAN}, {"net-static": "fail"}),
        ("ubuntu", {NETPLAN: STATIC_NETPLAN.replace("eth0", "ens160")}, {"net-static": "warning"}),
        (
            "ubuntu",
            {
                f"{CLOUD}/99-net.cfg": "network:\n  version: 2\n  ethernets:\n    ens160: {dhcp4: true}\n",
                "/etc/netplan/50-cloud-init.yaml": None,
            },
            {"net-dhcp-primary": "fail"},
        ),
        (
            "rhel",
            {
                **NO_CLOUD_INIT,
                NM: "[connection]\ntype=ethernet\ninterface-name=ens192\n[ipv4]\nmethod=auto\n",
                "/etc/NetworkManager/conf.d/no.conf": "[main]\nno-auto-default=*\n",
            },
            {"net-dhcp-primary": "fail"},
        ),
        (
            "rhel",
            {
                **NO_CLOUD_INIT,
                NM: "[connection]\ntype=ethernet\n[ipv4]\nmethod=manual\naddress1=10.0.0.9/24\n",
            },
            {"net-dhcp-primary": "fail", "net-static": "fail"},
        ),
        (
            "rhel",
            {**NO_CLOUD_INIT, IFCFG: "DEVICE=eth0\nBOOTPROTO=none\nONBOOT=yes\nIPADDR=10.0.0.9\n"},
            {"net-dhcp-primary": "fail", "net-static": "fail"},
        ),
        (
            "suse",
            {**NO_CLOUD_INIT, "/etc/sysconfig/network/ifcfg-eth0": "STARTMODE=auto\nIPADDR=10.0.0.9/24\n"},
            {"net-dhcp-primary": "fail", "net-static": "fail"},
        ),
        # hardware addresses
        (
            "rhel",
            {IFCFG: "DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\nHWADDR=00:50:56:01:02:03\n"},
            {"net-mac-bound": "warning"},
        ),
        (
            "debian",
            {"/etc/systemd/network/10-e.link": "[Match]\nMACAddress=00:50:56:01:02:03\n[Link]\nName=lan\n"},
            {"net-mac-bound": "warning"},
        ),
        ("debian", {RULE: "SUBSYSTEM"}, {"udev-persistent-net": "warning"}),
        ("waagent", {RULE: "SUBSYSTEM"}, {"udev-persistent-net": "fail"}),
        (
            "suse",
            {"/usr/lib/udev/rules.d/75-persistent-net-generator.rules": "x"},
            {"udev-persistent-net": "warning"},
        ),
        # installers
        ("ubuntu", {f"{CLOUD}/99-installer.cfg": "#cloud-config\n"}, {"net-installer-leftovers": "fail"}),
        (
            "ubuntu",
            {"/etc/netplan/00-installer-config.yaml": "network:\n  ethernets:\n    ens18: {dhcp4: true}\n"},
            {"net-installer-leftovers": "warning"},
        ),
        # the rest
        (
            "rhel",
            {"/etc/udev/rules.d/68-azure-sriov-nm-unmanaged.rules": None},
            {"net-nm-sriov-unmanaged": "warning"},
        ),
        ("debian", {"/etc/dhcp/dhclient.conf": "# a\ntimeout 10;\n"}, {"net-dhcp-timeout": "warning"}),
        ("suse", {"/etc/sysconfig/network/dhcp": ""}, {"net-suse-hostname": "warning"}),
        ("waagent", {"/etc/resolv.conf": "nameserver 192.168.1.1\n"}, {"resolv-static": "warning"}),
        (
            "ubuntu",
            {"/etc/systemd/system/sysinit.target.wants/systemd-resolved.service": None},
            {"resolv-static": "warning"},
        ),
        ("waagent", {"/etc/resolv.conf": "-> /etc/gone.conf"}, {"resolv-static": "warning"}),
    ],
)
def test_a_defect_is_found_and_mended(family: str, changes: Changes, found: dict[str, str]) -> None:
    tree = changed(family, changes)
    facts = memory_facts(tree)
    assert bad(facts) == found
    fixes = [check.fix for check in CHECKS if check.id in found and check.fix]
    mended = apply([edit for fix in fixes for edit in fix(facts)], tree)
    assert bad(memory_facts(mended)) == {}, mended


def test_a_cloud_init_without_a_dhcp_client_is_told_and_cannot_be_mended() -> None:
    assert bad(memory_facts(changed("debian", {"/usr/sbin/dhclient": None}))) == {
        "net-ephemeral-dhcp-client": "fail"
    }
    old = {
        "/usr/sbin/dhclient": None,
        "/usr/sbin/dhcpcd": "",
        "/usr/lib/python3/dist-packages/cloudinit/version.py": '__VERSION__ = "22.4.2"\n',
    }
    assert bad(memory_facts(changed("debian", old))) == {"net-ephemeral-dhcp-client": "fail"}
    assert bad(memory_facts(changed("ubuntu", {"/usr/sbin/dhclient": None, "/usr/bin/dhcpcd": ""}))) == {}


def test_an_old_red_hat_is_asked_for_its_own_rows() -> None:
    old: dict[str, str | None] = {
        **NO_CLOUD_INIT,
        **{path: text for path, text in trees.os_release("centos", "6.10").items() if isinstance(text, str)},
        f"{trees.WANTS}/NetworkManager.service": None,
        "/etc/rc.d/rc3.d/S10network": "-> ../init.d/network",
        IFCFG: "DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\n",
        "/etc/sysconfig/network": "HOSTNAME=x\n",
        "/usr/sbin/NetworkManager": None,
    }
    tree = changed("rhel", old)
    facts = memory_facts(tree)
    assert bad(facts) == {"net-nm-absent-old": "fail", "net-nozeroconf": "warning"}
    amazon = {path: text for path, text in trees.os_release("amzn", "2").items() if isinstance(text, str)}
    assert bad(memory_facts({**tree, **amazon})) == {}
    fix = next(check.fix for check in CHECKS if check.id == "net-nozeroconf")
    assert fix
    mended = apply(fix(facts), tree)
    assert mended["/etc/sysconfig/network"] == b"HOSTNAME=x\nNETWORKING=yes\nNOZEROCONF=yes\n"
    assert bad(memory_facts(mended)) == {}


def test_the_rest_of_a_file_stays_when_a_stanza_is_mended() -> None:
    text = f"auto lo\niface lo inet loopback\n\n{STATIC_ENI}\nauto eth1\niface eth1 inet dhcp\n"
    facts = memory_facts(changed("debian", {**NO_CLOUD_INIT, "/etc/network/interfaces": text}))
    fix = next(check.fix for check in CHECKS if check.id == "net-static")
    assert fix
    (edit,) = fix(facts)
    assert edit.data.decode().startswith(  # type: ignore[union-attr]
        "auto lo\niface lo inet loopback\n\n# auto eth0\n# iface eth0 inet static\n"
        "#     address 10.1.2.3/24\n#     gateway 10.1.2.1\n# \nauto eth1\niface eth1 inet dhcp\n"
    )


def test_netplan_files_are_merged_by_name() -> None:
    tree: dict[str, str | bytes] = {
        "/usr/lib/systemd/system-generators/netplan": "",
        "/usr/lib/netplan/10-a.yaml": "network: {ethernets: {eth0: {dhcp4: false}}}",
        "/etc/netplan/20-b.yaml": "network: {ethernets: {eth0: {dhcp4: yes}}}",
        "/lib/netplan/20-b.yaml": "network: {ethernets: {eth9: {dhcp4: yes}}}",
    }
    (one,) = read_network(memory_files(tree)).interfaces
    assert (one.names, one.dhcp4, one.where) == (("eth0",), True, "/etc/netplan/20-b.yaml")


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + last] * 9)}]\n"
    for last, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text", [LAUGHS, "[" * 5000, "a: " * 10, "x" * 200_000, "\0", "- !!python/object:os.system x"]
)
def test_hostile_yaml_is_an_error_and_not_the_end(text: str) -> None:
    tree = changed("ubuntu", {NETPLAN: text, f"{CLOUD}/99-x.cfg": text})
    facts = memory_facts(tree)
    assert facts.network.tools
    assert isinstance(bad(facts), dict)


def test_files_that_source_themselves_and_each_other_end() -> None:
    tree: dict[str, Any] = {
        **trees.enabled("networking.service"),
        "/usr/sbin/ifup": "",
        "/etc/network/interfaces": "source interfaces\nsource /etc/network/i*\nsource-directory i.d\n",
        **{f"/etc/network/i.d/f{n}": "source-directory /etc/network/i.d\n" for n in range(400)},
        "/etc/network/i.d/z": "auto eth0\niface eth0 inet dhcp\n",
    }
    assert read_network(memory_files(tree)).tools == ("ifupdown",)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("systemd/network/10-e.link", "[Match]\nMACAddress=00:50:56:01:02:03\n[Link]\nName=lan\n"),
        ("systemd/network/10-e.network", "[Match]\nMACAddress=00:50:56:01:02:03\n[Network]\nDHCP=yes\n"),
    ],
)
def test_a_packages_file_is_hidden_below_etc_and_kept(path: str, text: str) -> None:
    tree = {**trees.FAMILIES["waagent"], f"/usr/lib/{path}": text}
    check = next(check for check in CHECKS if check.id == "net-mac-bound")
    assert check.fix is not None
    edits = list(check.fix(memory_facts(tree)))
    assert [edit.path for edit in edits if isinstance(edit, Symlink | Write)] == [f"/etc/{path}"]
    assert judge(check, memory_facts(apply(edits, tree))).status == "pass"
